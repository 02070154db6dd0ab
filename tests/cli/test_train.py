"""``train`` and ``quickstart``: the folder they leave, resuming, and refusals in one sentence."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import log_loss
from typer.testing import CliRunner

from kdanalysis import load_logits, open_run
from kdanalysis.cli.main import app

QUICK = (
    *("--data", "digits", "--image-size", "8", "--limit", "64", "--batch-size", "16"),
    *("--teacher", "resnet8", "--student", "resnet8", "--epochs", "1", "--record-every", "1"),
)


def train(*arguments: object):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "out"
    losses = ("--loss", "kd", "--loss", "gdkd:k=3", "--figures", "png")
    result = train(*QUICK, *losses, "--out", out)
    assert result.exit_code == 0, result.output
    return out, result


def test_the_folder_holds_page_tables_figures_runs_logits_and_checkpoints(trained):
    out, result = trained
    assert f"open {out / 'report.html'}" in result.output.replace("\n", "")
    assert {path.name for path in out.iterdir()} == {
        *("teacher.html", "report.html", "tables", "figures", "runs", "logits"),
        *("students", "teacher.pt", "train.json"),
    }
    assert open_run(out / "runs" / "gdkd-k-3").steps().tolist() == [0, 1, 2, 3]
    students = pd.read_csv(out / "tables" / "students.csv")
    assert students.network.tolist() == ["teacher", "kd", "gdkd-k-3"]
    magnitude = pd.read_csv(out / "tables" / "magnitude.csv")
    assert set(magnitude.run) == {"kd", "gdkd-k-3"}
    assert json.loads((out / "train.json").read_text())["losses"] == "ce + kd, ce + gdkd:k=3"
    discrepancy = pd.read_csv(out / "tables" / "discrepancy.csv")
    validation = load_logits(out / "logits" / "kd.npz").num_rows
    whole = discrepancy[discrepancy["class"] == 0].groupby("run").n.sum()
    assert whole.to_dict() == {"kd": validation, "gdkd-k-3": validation}
    embedding = pd.read_csv(out / "tables" / "embedding.csv").query("part == 'all'")
    sides = embedding[["run", "side", "n"]].to_numpy().tolist()
    assert sides == [
        ["teacher", "teacher", validation],
        ["kd", "student", validation],
        ["gdkd-k-3", "student", validation],
    ]
    calibration = pd.read_csv(out / "tables" / "calibration.csv").query("temperature == 1")
    assert calibration.run.unique().tolist() == ["teacher", "kd", "gdkd-k-3"]
    with np.load(out / "logits" / "kd.npz") as kd:
        score = log_loss(kd["target"], softmax(kd["student_logits"], axis=1), labels=range(10))
    assert calibration[calibration.run == "kd"].nll.iloc[0] == pytest.approx(score, rel=1e-4)
    teachers = (
        "mass",
        "amplification_of_gdkd",
        "relation",
        "suppression",
        "calibration",
        "embedding",
    )
    for name in (*teachers, "magnitude", "share", "confidence", "conflict", "nckd", "accuracy"):
        assert (out / "figures" / f"{name}.png").is_file()
    assert not [*(out / "figures").glob("*.svg")]


def test_a_log_has_a_line_an_epoch_and_the_teachers_card_before_any_student(trained):
    out, result = trained
    lines = [line.partition(", ") for line in result.stderr.splitlines() if ": epoch " in line]
    names = ("teacher resnet8", "student kd", "student gdkd-k-3")
    assert [line[0] for line in lines] == [f"{name}: epoch 1 of 1" for name in names]
    with np.load(out / "logits" / "teacher.npz") as found:
        right = (found["teacher_logits"].argmax(1) == found["target"]).mean()
    assert lines[0][2].startswith(f"{100 * right:.1f} % of the validation images right, ")
    for _, _, line in lines:
        assert re.search(r" right, [\d,]+ images/s, 0 s left$", line)
    said = result.output.replace("\n", " ")
    assert said.index("wrote the teacher's card") < said.index("student kd: epoch")
    page = (out / "teacher.html").read_text()
    assert "Candidates to try" in page


@pytest.mark.usefixtures("undrawn")
def test_sdd_trains_end_to_end_and_is_as_declared(tmp_path):
    losses = ("--loss", "sdd-gdkd:k=3,scales=1/2", "--loss", "sdd-nkd:scales=1/2,reduction=sum")
    result = train(*QUICK, *losses, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for name in ("sdd-gdkd-k-3-scales-1-2", "sdd-nkd-scales-1-2-reduction-sum"):
        run = open_run(tmp_path / "out" / "runs" / name)
        (rows,) = run.batches(("residual", "student_logits"), 100_000)
        assert rows["student_logits"].shape == (64, 10)
        assert rows["residual"].max() < 1e-4
        assert run.info.terms[1].startswith("consistent/")
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.usefixtures("undrawn")
def test_a_teacher_runs_once_for_some_classes_and_is_resumed(tmp_path):
    given = (*QUICK, "--loss", "kd", "--classes", "7,2,5", "--no-crops", "--cache-teacher")
    result = train(*given, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len([*(tmp_path / "out" / "cache").iterdir()]) == 2  # training, validation
    run = open_run(tmp_path / "out" / "runs" / "kd")
    assert run.info.classes == ["7", "2", "5"]
    (rows,) = run.batches(("residual", "target"), 1000)
    assert rows["residual"].max() < 1e-4
    assert set(rows["target"].tolist()) == {0, 1, 2}
    assert train(*given, "--out", tmp_path / "out", "--resume").exit_code == 0
    refused = train(*given[:-1], "--out", tmp_path / "out", "--resume")
    assert "its teacher's logits was 'computed once'" in " ".join(refused.output.split())


@pytest.mark.usefixtures("undrawn")
def test_what_train_wrote_serves_the_other_commands(trained):
    out, _ = trained
    run = out / "runs" / "kd"
    for arguments in (
        ["diagnose", out / "logits" / "kd.npz"],
        ["info", run],
        ["verify", run],
        ["table", run, "conflict"],
        ["table", out / "logits" / "kd.npz", "embedding"],
        ["report", run, out / "runs" / "gdkd-k-3", "-o", out.parent / "page.html"],
    ):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("undrawn")
def test_resuming_what_is_finished_changes_no_number(trained, tmp_path):
    out = shutil.copytree(trained[0], tmp_path / "out")
    result = train(*QUICK, "--loss", "kd", "--loss", "gdkd:k=3", "--out", out, "--resume")
    assert result.exit_code == 0, result.output
    for name in ("students", "magnitude", "teacher"):
        before, after = (folder / "tables" / f"{name}.csv" for folder in (trained[0], out))
        assert after.read_text() == before.read_text()
    assert not (out / "figures").exists()  # those of the page before


@pytest.mark.usefixtures("undrawn")
def test_overwrite_replaces_an_interrupted_training(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "train.json").write_text("{}")
    (out / ".teacher.pt.part").write_text("half")
    assert train(*QUICK, "--loss", "kd", "--out", out).exit_code == 2
    assert train(*QUICK, "--loss", "kd", "--out", out, "--overwrite").exit_code == 0
    assert (out / "report.html").is_file()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--loss", "gdkdd"], "unknown loss 'gdkdd'; did you mean 'gdkd'?"),
        (["--loss", "sdd-kd"], "cannot be trained with here: scale 4 asks for 4x4 cells, but the"),
        (["--loss", "sdd-gdkd:k=10,scales=1/2"], "leaves a group empty: need 0 < k < 10"),
        (
            ["--loss", "kd", "--record-regions", "4"],
            "here: scale 4 asks for 4x4 cells, but the map",
        ),
        (["--loss", "kd", "--record-regions", "0"], "record_regions must be at least 1, got 0"),
        (["--loss", "kd", "--region-scales", "2,4"], "'2,4' cannot be read: need whole numbers"),
        (["--loss", "gdkd:k=10"], "leaves a group empty: need 0 < k < 10"),
        (["--loss", "kd", "--student", "resnet9"], "there is no model 'resnet9'"),
        (["--loss", "kd", "--teacher", "none.pt"], "there is no checkpoint none.pt"),
        (["--loss", "kd", "--data", "nowhere"], "there is no data named 'nowhere'"),
        (["--loss", "kd", "--epochs", "0"], "epochs must be at least 1, got 0"),
        (
            ["--loss", "kd", "--cache-teacher"],
            "not for its crops: train without crops (--no-crops)",
        ),
        (["--loss", "kd", "--classes", "11"], "digits has 10 classes: keep 2 to all, not 11"),
        (["--loss", "kd", "--classes", "1,x"], "digits has no class 'x'"),
        (["--loss", "kd", "--resume"], "holds no training to resume"),
        (["--loss", "kd", "--resume", "--overwrite"], "give one of them"),
        (["--loss", "kd", "--device", "cuda:x"], "unknown device 'cuda:x'"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, changed, message):
    result = train(*QUICK, *changed, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--loss", "kdx"], "unknown loss 'kdx'"),
        (["--student", "resnet9"], "there is no model 'resnet9'"),
        (["--teacher", "resnet9"], "there is no model 'resnet9'"),
        (["--teacher", "none.pt"], "there is no checkpoint none.pt"),
    ],
)
def test_names_are_refused_before_the_images_are_loaded(tmp_path, monkeypatch, changed, message):
    monkeypatch.setattr("kdanalysis.data.load_data", None)
    result = train(*QUICK, "--loss", "kd", *changed, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_an_unreadable_image_is_named(tmp_path):
    for name in ("cat", "dog"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    (tmp_path / "images" / "dog" / "2.png").write_bytes(b"not an image")
    result = train(
        *QUICK[6:], "--data", tmp_path / "images", "--loss", "kd", "--out", tmp_path / "o"
    )
    assert result.exit_code == 2
    assert "2.png" in result.output.replace("\n", "")
    assert not (tmp_path / "o").exists()


def test_overwrite_of_one_command_spares_the_results_of_another(trained, tmp_path):
    out = shutil.copytree(trained[0], tmp_path / "out")
    logits = out / "logits" / "kd.npz"
    for folder in (out, out / "runs" / "kd"):
        command = ["diagnose", str(logits), "--out", str(folder), "--overwrite"]
        assert CliRunner().invoke(app, command).exit_code == 2
    (out / "notes.txt").write_text("mine")
    assert train(*QUICK, "--loss", "kd", "--out", out, "--overwrite").exit_code == 2
    assert (out / "teacher.pt").is_file()
    assert open_run(out / "runs" / "kd").num_rows == 64


def test_a_teacher_inside_the_folder_to_replace_is_refused(trained, tmp_path):
    out = shutil.copytree(trained[0], tmp_path / "out")
    changed = ["--teacher", out / "teacher.pt", "--loss", "kd", "--out", out, "--overwrite"]
    result = train(*QUICK, *changed)
    assert result.exit_code == 2
    assert "which --overwrite would replace" in " ".join(result.output.split())
    assert (out / "teacher.pt").is_file()


def test_resume_refuses_another_experiment_and_leaves_its_plan(trained, tmp_path):
    out = shutil.copytree(trained[0], tmp_path / "out")
    plan = (out / "train.json").read_text()
    losses = ("--loss", "kd", "--loss", "gdkd:k=3")
    for option, value, named in (
        ("--image-size", 16, "image size"),
        ("--limit", 60, "training images"),
        ("--epochs", 2, "epochs"),
        ("--seed", 1, "images"),  # which are others of the same number
    ):
        result = train(*QUICK, *losses, option, value, "--out", out, "--resume")
        assert result.exit_code == 2
        assert f"cannot be resumed: its {named} was" in " ".join(result.output.split())
    assert (out / "train.json").read_text() == plan


@pytest.mark.usefixtures("undrawn")
def test_parts_that_cannot_be_read_are_said(trained, tmp_path):
    run = shutil.copytree(trained[0] / "runs" / "kd", tmp_path / "kd")
    part = next((run / "samples").rglob("part-*.parquet"))
    shutil.copy(part, part.with_name("part-00002.parquet"))
    part.with_name("part-00002.parquet").write_bytes(part.read_bytes()[:-100])
    for command in (
        ["table", run, "share"],
        ["diagnose", run],
        ["report", run, "-o", run / "p.html"],
    ):
        result = CliRunner().invoke(app, [str(word) for word in command])
        assert result.exit_code == 0
        assert "is not whole, part is left out: 1, such as samples" in " ".join(
            result.stderr.split()
        )


def test_a_folder_of_the_users_own_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("three years")
    for command in (["quickstart"], ["train", *QUICK, "--loss", "kd"]):
        result = CliRunner().invoke(app, [*command, "--overwrite", "--out", str(tmp_path)])
        assert result.exit_code == 2
        assert "was not written by this command alone" in " ".join(result.output.split())
    assert (tmp_path / "thesis.tex").read_text() == "three years"


@pytest.mark.usefixtures("undrawn")
def test_quickstart_writes_a_page_from_small_data(tmp_path, monkeypatch):
    """The whole command on few images; the README's command runs the real one."""
    from kdanalysis import data

    load = data.load_data
    monkeypatch.setattr(data, "load_data", lambda spec, **options: load(spec, **options | SMALL))
    result = CliRunner().invoke(app, ["quickstart", "--out", str(tmp_path / "q")])
    assert result.exit_code == 0, result.output
    assert "wrote the teacher's card: open" in result.stdout
    assert "Teacher card: teacher.npz" in (tmp_path / "q" / "teacher.html").read_text()
    figures = {path.suffix for path in (tmp_path / "q" / "figures").iterdir()}
    assert figures == {".svg"}
    assert "What kd, dkd, gdkd teach" in (tmp_path / "q" / "report.html").read_text()


SMALL = {"limit": 160, "image_size": 8}


def test_what_the_quickstart_loads_while_letters_are_drawn_is_there():
    """What it raises there is passed over: the training would load it later, and say why."""
    from kdanalysis.cli.quickstart import load

    load()


@pytest.mark.usefixtures("undrawn")
def test_layers_of_the_student_are_recorded_and_shown(tmp_path):
    out = tmp_path / "out"
    layers = ("--record-layers", "logits, layer?,fc", "--figures", "svg")
    result = train(*QUICK, "--loss", "gdkd:k=3", *layers, "--out", out)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out / "tables" / "layers.csv")
    assert list(dict.fromkeys(table.layer)) == ["logits", "layer1", "layer2", "layer3", "fc"]
    assert table.step.unique().tolist() == [0, 1, 2, 3]
    snr = pd.read_csv(out / "tables" / "snr.csv")
    assert set(snr.layer) == {"layer1", "layer2", "layer3", "fc"}
    for name in ("layers", "layer_conflict", "layer_conflict_over_epochs", "snr"):
        assert (out / "figures" / f"{name}-gdkd-k-3.svg").is_file()
    assert json.loads((out / "train.json").read_text())["record layers"] == "logits, layer?, fc"


def test_the_folder_may_be_given_by_a_tilde_that_no_shell_has_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    result = train(*QUICK, "--loss", "kd", "--resume", "--out", "~/out")
    assert f"{tmp_path / 'out'} holds no training" in result.output.replace("\n", "")


def test_a_layer_that_is_not_there_is_refused_before_any_training(tmp_path):
    layers = ("--record-layers", "layer9")
    result = train(*QUICK, "--loss", "kd", *layers, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "no layer 'layer9'; did you mean 'layer" in result.output.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_regions_are_kept_and_their_size_is_announced_before_training(tmp_path):
    kept = ("--record-regions", "4", "--region-scales", "1,2", "--loss", "sdd-kd:scales=1")
    result = train(*QUICK, "--loss", "kd", *kept, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "regions of kd: about 3 kB for scales (1, 2), 4 samples of each of 4 captured" in said
    assert said.index("regions of kd") < said.index("open ")
    anatomy = pd.read_csv(tmp_path / "out" / "tables" / "anatomy.csv")
    assert set(anatomy[anatomy.run == "kd"].scale) == {1, 2}
    assert not (tmp_path / "out" / "figures").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    refused = "Not to be drawn from these data: the students&#39; regions have no scale in common."
    assert re.findall('class="reading">(Not to be drawn[^<]*)', page) == [refused]
    for name, scales in (("kd", (1, 2)), ("sdd-kd-scales-1", (1,))):
        run = open_run(tmp_path / "out" / "runs" / name)
        (found,) = run.batches(("step", "student_regions"), kind="regions")
        assert run.info.scales == scales
        assert found["student_regions"].shape == (16, 10, sum(m * m for m in scales))
