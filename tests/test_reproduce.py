"""``scripts/reproduce.py``: what it leaves, what a kill or a small budget costs, its numbers."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from kdanalysis.data import load_data
from kdanalysis.networks.zoo import build_model

SCRIPTS = Path(__file__).parents[1] / "scripts"
LOSSES = ("ce", "kd", "kd x 6", "nckd sure", "sdd-kd:scales=1/2", "blocks")


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(SCRIPTS))
    import measures.matrix
    import measures.results
    import reproduce

    yield measures.matrix, measures.results, reproduce
    sys.path.remove(str(SCRIPTS))


@pytest.fixture
def teachers(tmp_path):
    folder = tmp_path / "teachers"
    folder.mkdir()
    torch.manual_seed(0)
    torch.save({"state_dict": build_model("resnet8", 10).state_dict()}, folder / "small-8.th")
    return folder


def reproduce(monkeypatch, scripts, teachers, out, *more: object) -> None:
    given = ("--data", "digits", "--image-size", "8", "--images", "64", "--epochs", "2")
    given += ("--batch-size", "16", "--teachers", teachers, "--out", out, *more)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, given)])
    scripts[2].main()


def test_paired_differences_are_those_of_scipy(scripts):
    random = np.random.default_rng(0)
    values = pd.DataFrame({"kd": random.normal(0.5, 0.1, 4)})
    values["dkd"] = values.kd + 0.1 + random.normal(0, 0.01, 4)
    values["same"] = values.kd + random.normal(0, 0.01, 4)
    pairs = [("a", "dkd", "kd"), ("b", "same", "kd"), ("c", "absent", "kd")]
    table = scripts[1].differences(values, pairs, least=0.02).set_index("name")
    low, high = stats.ttest_rel(values.dkd, values.kd).confidence_interval(0.95)
    assert table.loc["a", ["low", "high"]].tolist() == pytest.approx([low, high])
    assert table.verdict.to_dict() == {"a": "seen", "b": "not seen"}
    told = ["not seen: less than 0.2"]
    assert scripts[1].differences(values, pairs[:1], least=0.2).verdict.tolist() == told
    assert scripts[1].differences(values[:1], pairs[:1]).verdict.tolist() == ["one seed"]


def test_log_odds_and_confidence_are_those_of_softmax(scripts):
    logits = np.random.default_rng(0).normal(0, 3, (20, 5))
    target = np.arange(20) % 5
    p = torch.from_numpy(logits).softmax(-1).numpy()
    chosen = p[np.arange(20), target]
    np.testing.assert_allclose(scripts[0].log_odds(logits, target), np.log(chosen / (1 - chosen)))
    assert scripts[0].confidence(logits) == pytest.approx(p.max(1).mean())


def test_every_loss_comes_once_before_any_comes_twice(scripts):
    matrix = scripts[0].Matrix(None, Path(), {"a": "kd", "b": "ce"}, None, 2, Path(), None)
    assert list(matrix) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_fewer_images_keep_their_labels_and_normalisation(scripts):
    data = load_data("digits", image_size=8)
    few = scripts[0].fewer(data, 50)
    assert (len(few.train), len(few.valid)) == (50, len(data.valid))
    assert np.bincount(few.train.labels).tolist() == [5] * 10
    assert torch.equal(few.mean, data.mean)
    whole = {
        (p.numpy().tobytes(), y) for p, y in zip(data.train.pixels, data.train.labels, strict=True)
    }
    assert all(
        (p.numpy().tobytes(), y) in whole
        for p, y in zip(few.train.pixels, few.train.labels, strict=True)
    )


def test_epochs_are_cut_to_a_budget_once_and_kept(scripts, tmp_path):
    settle, plan = scripts[2].settle, {"epochs wanted": 10, "seeds wanted": 3}
    assert settle(tmp_path / "a" / "plan.json", plan, 60, 1000)["epochs"] == 10
    assert settle(tmp_path / "b" / "plan.json", plan, 60, 200)["epochs"] == 3
    assert settle(tmp_path / "b" / "plan.json", plan | {"seeds wanted": 4}, 60, 9999)["epochs"] == 3
    with pytest.raises(SystemExit, match="is another plan: epochs wanted was 10"):
        settle(tmp_path / "b" / "plan.json", plan | {"epochs wanted": 20}, 60, 9999)


@pytest.mark.long
def test_a_matrix_is_trained_told_and_gone_on_with(
    scripts, teachers, tmp_path, monkeypatch, capsys
):
    out, train = tmp_path / "out", scripts[0].Matrix.train
    named = ("--losses", *LOSSES, "--seeds", "2", "--budget")

    def killed(matrix, name, seed):
        if (name, seed) == ("kd", 1):
            raise KeyboardInterrupt
        return train(matrix, name, seed)

    monkeypatch.setattr(scripts[0].Matrix, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        reproduce(monkeypatch, scripts, teachers, out, *named, "60")
    monkeypatch.setattr(scripts[0].Matrix, "train", train)
    assert "12 trainings of 2 epochs are left: about" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="holds trainings already: give --resume"):
        reproduce(monkeypatch, scripts, teachers, out, *named, "60")
    before = {path: path.stat().st_mtime_ns for path in out.glob("trainings/*/result.json")}
    assert len(before) == 7

    reproduce(monkeypatch, scripts, teachers, out, *named, "0", "--resume")
    said = capsys.readouterr().out
    assert "the budget does not hold kd, seed 1: go on with --resume" in said
    accuracy = pd.read_csv(out / "results" / "accuracy.csv")
    assert accuracy.shortened.unique().tolist() == ["1 to 2 of 2 seeds"]

    reproduce(monkeypatch, scripts, teachers, out, *named, "60", "--resume")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    accuracy = pd.read_csv(out / "results" / "accuracy.csv")
    assert accuracy.shortened.isna().all()
    assert sorted(zip(accuracy.student, accuracy.seed, strict=True)) == sorted(
        (name, seed) for name in LOSSES for seed in (0, 1)
    )
    manifest = json.loads((out / "results" / "manifest.json").read_text())
    assert manifest["trained"] == 12
    relation = pd.read_csv(out / "results" / "relation.csv")
    factors = pd.read_csv(out / "results" / "relation_factors.csv")
    row = factors.query("notion == 'top-5' and measure == 'kendall'").iloc[0]
    means = relation.query("notion == 'top-5' and measure == 'kendall'").pivot(
        index="seed", columns="student", values="mean"
    )
    assert row.factor == "step, kd x 6 - kd"
    assert row.difference == pytest.approx(
        (means["kd x 6"] - means["kd"]).mean(), rel=1e-3, abs=1e-5
    )
    layers = pd.read_csv(out / "results" / "layers.csv")
    assert layers.seed.unique().tolist() == [0]
    cells = pd.read_csv(out / "results" / "regions_anatomy.csv")
    assert cells.seed.unique().tolist() == [0, 1]
    assert {"regions.npz", "ladder_training.csv", "regions_anatomy.csv", "teacher_teacher.csv"} <= {
        path.name for path in (out / "results").iterdir()
    }
