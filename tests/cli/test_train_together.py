"""``train`` under torchrun: one training of all ranks, one voice, one end."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from training_in_ranks import Plain
from typer.testing import CliRunner

from kdanalysis import open_run
from kdanalysis.cli.main import app
from kdanalysis.core.ranks import RANKS
from kdanalysis.data import load_data
from kdanalysis.networks.zoo.build import BUILDERS
from kdanalysis.training.checkpoint import load_network, read_checkpoint
from kdanalysis.training.parallel import images_a_rank
from kdanalysis.training.predict import predict

PROGRAM = Path(__file__).parents[1] / "training_in_ranks.py"
ROOT = Path(__file__).parents[2]
QUICK = (
    *("--data", "digits", "--image-size", "8", "--limit", "96", "--batch-size", "16"),
    *("--teacher", "resnet8", "--student", "resnet8", "--epochs", "2", "--record-every", "2"),
    *("--learning-rate", "0.2", "--loss", "kd", "--record-layers", "logits,first,fc"),
)
CODES = [(0, 0), (1, 2), (0, 0), (0, 0), (2, 2), (0, 0), (2, 1)]  # of the trainings below, by rank


def torchrun(*program: object, ranks: int = 2) -> subprocess.CompletedProcess:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*launch, "--nproc-per-node", str(ranks), *map(str, program)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def together(once):
    """Trainings in two ranks, one after the other in one torchrun; their folder, what was printed.

    ``broken`` fails in one rank, and is resumed; ``full`` finds a full disk.
    """
    return once("trained-together", train_together)


def train_together(folder: Path) -> subprocess.CompletedProcess:
    norm = ("--teacher", "resnet14", "--student", "resnet14")  # those with batch normalisation
    trainings = (
        ("plain", "", ()),
        ("broken", "raise", ()),
        ("broken", "", ("--resume",)),
        ("blocks", "", ("--method", "blocks", "--record-layers", "first")),
        ("refused", "", ("--batch-size", "15")),
        ("norm", "page", (*norm, "--record-layers", "logits,layer1,fc")),
        ("full", "full", ()),
    )
    commands = []
    for name, what, options in trainings:
        (folder / name).mkdir(exist_ok=True)
        given = [*QUICK, *options, "--out", str(folder / name / "out")]
        commands.append([what, *given] if what else given)
    (folder / "commands.json").write_text(json.dumps(commands))
    done = torchrun(PROGRAM, folder / "commands.json")
    assert done.returncode == 0, done.stderr
    codes = [json.loads((folder / f"codes-{rank}.json").read_text()) for rank in range(2)]
    assert list(zip(*codes, strict=True)) == CODES, done.stderr
    return done


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same training in one process."""
    out = tmp_path_factory.mktemp("alone") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUILDERS, "resnet8", Plain)
        patch.setattr("kdanalysis.cli.experiment.write_page", lambda *_: None)
        result = CliRunner().invoke(app, ["train", *QUICK, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.parametrize("noun", ["magnitude", "share", "conflict", "agreement", "layers"])
def test_tables_are_those_of_one_process_on_the_same_global_batches(together, alone, noun):
    places = together[0] / "plain" / "out", alone
    found, expected = (open_run(out / "runs" / "kd").table(noun) for out in places)
    assert len(expected)
    pd.testing.assert_frame_equal(found, expected, rtol=2e-3, atol=1e-5)


def test_weights_and_validation_logits_are_those_of_one_process(together, alone):
    ours = together[0] / "plain" / "out"
    for name in ("teacher.pt", "students/kd.pt"):
        found, expected = (read_checkpoint(out / name) for out in (ours, alone))
        for key, value in expected["weights"].items():
            torch.testing.assert_close(found["weights"][key], value, rtol=1e-3, atol=1e-5)
        assert found["history"] == expected["history"]
    for name in ("teacher", "kd"):
        with (
            np.load(ours / f"logits/{name}.npz") as a,
            np.load(alone / f"logits/{name}.npz") as b,
        ):
            assert a.files == b.files
            assert a["classes"].tolist() == b["classes"].tolist()
            for key in {*a.files} - {"classes"}:
                np.testing.assert_allclose(a[key], b[key], rtol=1e-3, atol=1e-4)


def test_one_rank_prints_and_nothing_is_warned_of(together):
    folder, done = together
    assert done.stdout.count("Validation images") == 4
    for name in ("plain", "broken", "blocks", "norm"):
        assert done.stdout.count(f"wrote {folder / name / 'out'}: open") == 1
    assert done.stdout.count("wrote the teacher's card") == 4
    assert "Warning" not in done.stderr
    assert {path.name for path in (folder / "plain" / "out").iterdir()} == {
        *("runs", "logits", "students", "teacher.pt", "train.json", "teacher.html")
    }


def test_an_error_in_one_rank_ends_all_and_the_training_can_be_resumed(together):
    folder, done = together
    assert done.stderr.count("kdanalysis: error: image 7 is damaged") == 1
    places = [folder / name / "out" for name in ("plain", "broken")]
    whole, resumed = (read_checkpoint(out / "students/kd.pt") for out in places)
    for key, value in whole["weights"].items():
        assert torch.equal(resumed["weights"][key], value)
    runs = [open_run(out / "runs" / "kd") for out in places]
    assert runs[1].duplicates > 0  # the control: steps after the checkpoint came twice
    for noun in ("magnitude", "layers"):
        pd.testing.assert_frame_equal(*(run.table(noun) for run in runs))


def test_a_disk_that_is_full_for_the_writing_rank_ends_all(together):
    folder, done = together
    assert done.stderr.count("kd.pt: No space left on device") == 1
    assert not (folder / "full" / "out" / "students" / "kd.pt").exists()


def test_the_death_of_a_rank_ends_the_others(tmp_path):
    before = time.monotonic()
    done = torchrun(PROGRAM, "kill", *QUICK, "--out", tmp_path / "out")
    assert done.returncode != 0
    assert time.monotonic() - before < 120
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert done.stderr.count("kdanalysis: error") <= 1
    assert done.stderr.count("Traceback (most recent call last)") == 1  # torchrun's own


def test_students_and_their_stepping_stones_are_the_same_in_all_ranks(together):
    folder = together[0] / "blocks"
    out = folder / "out"
    first, second = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert any(key.startswith("connectors") for key in first)
    assert all(torch.equal(first[key], second[key]) for key in first)
    run = open_run(out / "runs" / "kd")
    layers = run.table("layers")
    assert (layers.n == 1).all()
    assert "stone_1/distill" in set(layers.term_a)
    (rows,) = run.batches(["residual"], 1000)
    assert len(rows["residual"]) == 6 * 16  # every second of 12 steps, both ranks' shares
    assert rows["residual"].max() < 1e-3
    ladder = pd.read_csv(out / "students" / "kd.ladder_training.csv")
    assert set(ladder.epoch) == {1, 2}
    assert len(set(ladder.n)) == 1
    with np.load(out / "logits" / "kd.npz") as file:
        accuracy = (file["student_logits"].argmax(-1) == file["target"]).mean()
    last = ladder[ladder.epoch == 2].set_index("side")
    assert last.accuracy["student"] == pytest.approx(accuracy)


def test_networks_with_batch_normalisation_are_trained_and_their_page_written(together):
    out = together[0] / "norm" / "out"
    assert (out / "report.html").is_file()
    assert "layer1" in set(pd.read_csv(out / "tables" / "layers.csv").layer)
    magnitude = pd.read_csv(out / "tables" / "magnitude.csv")
    assert (magnitude.n == 16).all()
    data = load_data("digits", image_size=8, limit=96, seed=0)
    teacher = load_network(out / "teacher.pt", data)
    with np.load(out / "logits" / "teacher.npz") as file:  # with the statistics of one rank
        predicted = predict(teacher, data.valid, torch.device("cpu"))
        np.testing.assert_allclose(file["teacher_logits"], predicted, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_trained_is_refused_once_before_anything_is_made(together):
    folder, done = together
    assert done.stderr.count("a batch size of 15 cannot be shared by 2 processes") == 1
    assert list((folder / "refused").iterdir()) == []


@pytest.mark.parametrize(("world", "size", "share"), [(1, 3, 3), (2, 4, 2), (4, 64, 16)])
def test_ranks_share_a_batch_equally(monkeypatch, world, size, share):
    monkeypatch.setattr(RANKS, "world", world)
    assert images_a_rank(size) == share


@pytest.mark.parametrize(("world", "size"), [(2, 2), (2, 5), (3, 64)])
def test_batches_that_ranks_cannot_share_are_refused(monkeypatch, world, size):
    monkeypatch.setattr(RANKS, "world", world)
    with pytest.raises(ValueError, match=f"batch size of {size} cannot be shared by {world} proc"):
        images_a_rank(size)
