"""`ladder` reads two checkpoints, fits connectors, prints the ladder and fills a folder."""

import re

import pandas as pd
import pytest
import torch

from kdanalysis.data import load_data
from kdanalysis.networks.zoo import build_model
from kdanalysis.training.checkpoint import save_checkpoint

OPTIONS = ("--data", "glyphs", "--limit", "80", "--device", "cpu", "--batch-size", "32")
TABLES = {"ladder", "ladder_gradient", "alignment", "connector"}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder, classes = tmp_path_factory.mktemp("networks"), load_data("glyphs", limit=80).classes
    torch.manual_seed(0)
    for name in ("resnet8", "resnet14", "vgg8"):
        model = build_model(name, len(classes))
        save_checkpoint(folder / f"{name}.pt", model, {"model": name, "classes": list(classes)})
    return folder


def test_the_ladder_is_printed_and_the_folder_filled(run_command, networks, tmp_path):
    pair = networks / "resnet8.pt", networks / "resnet14.pt"
    figures = ("--figures", "svg", "--out", tmp_path / "out")
    result = run_command("ladder", *pair, *OPTIONS, *figures)
    assert result.exit_code == 0, result.stderr
    sides = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert [side for side in sides if side.startswith(("stone", "teacher", "student"))] == [
        "teacher",
        "stone_1",
        "stone_2",
        "stone_3",
        "student",
    ]
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "out/tables").iterdir()}
    assert set(tables) == TABLES
    assert len(tables["ladder_gradient"]) == 3 * 4
    assert len(tables["alignment"]) == 9
    assert tables["connector"].r2_fit.between(0, 1).all()
    assert tables["connector"].student_block.tolist() == ["layer1", "layer2", "layer3"]
    page = (tmp_path / "out/report.html").read_text()
    for heading in ("The ladder of stepping stones", "Alignment of the features", "Connectors"):
        assert heading in page
    assert "Not to be drawn" not in page
    assert re.search(r"kd:temperature=[\d.]+, block by block", page)
    drawn = {path.stem for path in (tmp_path / "out/figures").iterdir()}
    assert drawn == {"ladder", "ladder_gradient", "alignment"}


def test_blocks_are_chosen_and_the_fit_takes_so_many_images(run_command, networks, tmp_path):
    blocks = ("--student-blocks", "layer1, layer3", "--teacher-blocks", "block1,block3")
    options = (*OPTIONS, *blocks, "--fit-images", "40", "--out", tmp_path / "out")
    result = run_command("ladder", networks / "resnet8.pt", networks / "vgg8.pt", *options)
    assert result.exit_code == 0, result.stderr
    connectors = pd.read_csv(tmp_path / "out/tables/connector.csv")
    assert connectors.teacher_block.tolist() == ["block1", "block3"]
    assert "40" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--teacher-blocks", "layr1,layer2,layer3"),
            "no block 'layr1'; did you mean 'layer1'",
        ),
        (("--student-blocks", "layer1"), "the student has 1 blocks and the teacher 3"),
        (("--loss", "kdd"), "unknown loss 'kdd'"),
        (("--strength", "-1"), "strength must be a finite number from 0"),
        (("--temperature", "0"), "temperature must lie between 0.001 and 10000"),
        (("--fit-images", "0"), "--fit-images 0: need 1 or more"),
        (("--fit-images", "-5"), "--fit-images -5: need 1 or more"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_left(
    run_command, networks, tmp_path, options, message
):
    pair = networks / "resnet8.pt", networks / "resnet14.pt"
    result = run_command("ladder", *pair, *OPTIONS, *options, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_is_none_is_refused(run_command, networks):
    result = run_command("ladder", networks / "no.pt", networks / "resnet14.pt", *OPTIONS)
    assert result.exit_code == 2
    assert "there is no checkpoint" in result.stderr
