"""`train --method blocks`: the ladder on the page, a plain student, refusals in one sentence."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from kdanalysis.cli.main import app

QUICK = (
    *("--data", "digits", "--image-size", "8", "--limit", "64", "--batch-size", "16"),
    *("--teacher", "resnet8", "--student", "resnet8", "--epochs", "2", "--record-every", "2"),
    *("--loss", "kd", "--device", "cpu"),
)


def train(*arguments: object):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "out"
    options = (
        "--figures",
        "png",
        "--method",
        "blocks",
        "--student-blocks",
        "layer1, layer2,layer3",
        "--light",
    )
    result = train(*QUICK, *options, "--out", out)
    assert result.exit_code == 0, result.output
    return out


def test_the_page_shows_the_ladder_over_training(trained):
    history = pd.read_csv(trained / "tables" / "ladder_training.csv")
    assert history.side[:4].tolist() == ["teacher", "stone_2", "stone_3", "student"]
    assert history.epoch.unique().tolist() == [1, 2]
    gradient = pd.read_csv(trained / "tables" / "ladder_gradient.csv")
    assert set(gradient.side) == {"student", "stone_2", "stone_3"}
    page = (trained / "report.html").read_text()
    for heading in ("The ladder over training", "What every stone sends into the student"):
        assert heading in page
    assert "Not to be drawn" not in page
    assert (trained / "figures" / "ladder_training-kd.png").is_file()
    plan = json.loads((trained / "train.json").read_text())
    assert plan["stones"] == (
        "the deeper half; blocks of the student layer1, layer2, layer3; of the teacher its own"
    )


def test_its_student_has_a_ladder_after_the_fact_too(trained):
    arguments = ["ladder", trained / "students" / "kd.pt", trained / "teacher.pt", *QUICK[:6]]
    result = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "stone_1" in result.stdout


def test_another_method_is_not_resumed(trained):
    result = train(*QUICK, "--out", trained, "--resume")
    assert result.exit_code == 2
    assert "its stones was 'the deeper half; blocks of the" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "block"), "--method is logits or blocks, got 'block'"),
        (("--student-blocks", "layer1"), "belong to --method blocks: give that too"),
        (("--light",), "belong to --method blocks: give that too"),
        (
            ("--method", "blocks", "--student-blocks", "layer1,layer2"),
            "the student has 2 blocks and the teacher 3",
        ),
        (
            ("--method", "blocks", "--teacher-blocks", "layr1,layer2,layer3"),
            "you mean 'layer1'",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_left(tmp_path, options, message):
    result = train(*QUICK, *options, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
