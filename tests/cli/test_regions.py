"""`regions` reads one or two checkpoints, says what it saw, and fills a folder."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis import RegionTap, read_regions
from kdanalysis.data import load_data
from kdanalysis.networks.zoo import build_model
from kdanalysis.training.checkpoint import load_network, save_checkpoint

OPTIONS = ("--data", "glyphs", "--limit", "80", "--device", "cpu", "--batch-size", "50")
TEACHER = {"ambiguity", "sight"}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder, classes = tmp_path_factory.mktemp("networks"), load_data("glyphs", limit=80).classes
    torch.manual_seed(0)
    for name in ("resnet8", "resnet14"):
        model = build_model(name, len(classes))
        save_checkpoint(folder / f"{name}.pt", model, {"model": name, "classes": list(classes)})
    return folder


def test_two_networks_fill_the_folder(run_command, networks, tmp_path):
    sides = networks / "resnet14.pt", "--student", networks / "resnet8.pt"
    figures = ("--images", "2", "--figures", "svg")
    result = run_command("regions", *sides, *OPTIONS, *figures, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    for heading in ("Anatomy of the regions:", "Uptake", "What a region sees:"):
        assert heading in result.stdout
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "out/tables").iterdir()}
    assert set(tables) == TEACHER | {"anatomy", "cancellation", "uptake"}
    page = (tmp_path / "out/report.html").read_text()
    assert "Not to be drawn" not in page
    assert "kd:temperature=4" in page
    drawn = {path.stem for path in (tmp_path / "out/figures").iterdir()}
    shown = {f"sight_{image}" for image in tables["sight"].sample_id}
    assert {"anatomy", "anatomy_of_cells"} | shown <= drawn
    assert {name for name in drawn if name.startswith("sight")} == shown
    check_sights(tables["sight"], networks / "resnet14.pt")


def check_sights(table: pd.DataFrame, path) -> None:
    """Hold the classes of the images shown against the model itself."""
    data = load_data("glyphs", limit=80)
    model = load_network(path, data).eval()
    assert table.sample_id.nunique() == 2
    with RegionTap(model) as tap, torch.no_grad():
        x, y, ids = next(data.valid.batches(len(data.valid)))
        model(x)
        top = tap.take().regions((1, 2, 4)).argmax(1).numpy()
    for sample, rows in table.groupby("sample_id"):
        place = ids.tolist().index(sample)
        assert rows["class"].tolist() == top[place].tolist()
        assert (rows.label == y[place].item()).all()
    counts = [len(np.unique(classes[5:])) for classes in top]
    shown = [counts[ids.tolist().index(s)] for s in table.sample_id.unique()]
    assert shown == sorted(shown)


def test_a_teacher_alone_has_the_tables_that_need_no_student(run_command, networks, tmp_path):
    options = (*OPTIONS, "--scales", "1,2", "--images", "0", "--out", tmp_path / "out")
    result = run_command("regions", networks / "resnet14.pt", *options)
    assert result.exit_code == 0, result.stderr
    assert {path.stem for path in (tmp_path / "out/tables").iterdir()} == {"ambiguity"}
    assert set(pd.read_csv(tmp_path / "out/tables/ambiguity.csv").scale) == {2}


def test_cells_too_small_for_a_name_are_told_without_pictures(run_command, networks, tmp_path):
    options = (*OPTIONS, "--image-size", "32", "--scales", "1,6", "--out", tmp_path / "out")
    result = run_command("regions", networks / "resnet14.pt", *options)
    assert result.exit_code == 0, result.stderr
    assert {path.stem for path in (tmp_path / "out/tables").iterdir()} == {"ambiguity"}


def test_a_file_of_regions_gives_the_tables_of_the_networks_it_came_from(
    run_command, networks, tmp_path
):
    data = load_data("glyphs", limit=80)
    sides = [load_network(networks / f"{name}.pt", data) for name in ("resnet14", "resnet8")]
    (batch,) = read_regions(data.valid.batches(len(data.valid)), *sides, (1, 2))
    np.savez(tmp_path / "regions.npz", **batch)
    checkpoints = networks / "resnet14.pt", "--student", networks / "resnet8.pt", *OPTIONS
    for name, what in (("file", (tmp_path / "regions.npz",)), ("networks", checkpoints)):
        result = run_command("regions", *what, "--scales", "1,2", "--out", tmp_path / name)
        assert result.exit_code == 0, result.stderr
    for path in (tmp_path / "file/tables").iterdir():
        expected = pd.read_csv(tmp_path / "networks/tables" / path.name)
        pd.testing.assert_frame_equal(pd.read_csv(path), expected, rtol=1e-4)
    assert not (tmp_path / "file/tables/sight.csv").exists()
    result = run_command("regions", tmp_path / "regions.npz")
    assert result.exit_code == 2
    assert "holds 5 regions, the scales (1, 2, 4) have 21" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [("t.pt",), ("t.th",), ("r.npz", "--data", "glyphs"), ("r.npz", "--student", "s.pt")],
)
def test_images_belong_to_checkpoints_alone(run_command, arguments):
    result = run_command("regions", *arguments)
    assert result.exit_code == 2
    assert "a checkpoint needs --data with its images" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--scales", "1,2,16"], "the teacher has no such regions: scale 16 asks for 16x16 cells"),
        (["--scales", "1"], "have no cells to compare: give another scale"),
        (["--scales", "2,4"], "need whole numbers that rise from 1"),
        (["--loss", "kdd"], "unknown loss 'kdd'"),
        (["--student", "none.pt"], "there is no checkpoint none.pt"),
        (["--images", "-1"], "--images -1: need 0 or more"),
        (["--loss", "gdkd:k=900", "--student", "SAME"], "leaves a group empty"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    run_command, networks, tmp_path, changed, message
):
    changed = [networks / "resnet8.pt" if word == "SAME" else word for word in changed]
    options = (*OPTIONS, *changed, "--out", tmp_path / "out")
    result = run_command("regions", networks / "resnet14.pt", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()
