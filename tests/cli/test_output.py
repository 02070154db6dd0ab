"""Output is there whole or not at all, and nothing of others is replaced."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kdanalysis.pages.publish import figures_beside, output_file, output_folder


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(path, text: str = "new", overwrite: bool = False) -> None:
    with output_folder(path, overwrite) as folder:
        (folder / "report.html").write_text(text)
        (folder / "tables").mkdir()


def test_a_folder_appears_when_complete(tmp_path):
    out = tmp_path / "a" / "out"
    with output_folder(out) as folder:
        (folder / "report.html").write_text("new")
        assert not out.exists()
    assert (out / "report.html").read_text() == "new"
    assert names(tmp_path / "a") == ["out"]
    assert out.stat().st_mode & 0o500 == 0o500


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path, error):
    def fail() -> None:
        with output_folder(tmp_path / "out") as folder:
            (folder / "half").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize("output", [output_folder, output_file])
def test_folders_above_go_where_nothing_came_into_them(tmp_path, output):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="fails"), output(tmp_path / "a" / "b" / "c" / "out"):
        raise ValueError("fails")
    assert names(tmp_path / "a") == []
    with output(tmp_path / "a" / "b" / "out") as building:
        building.mkdir(exist_ok=True)
    assert names(tmp_path / "a" / "b") == ["out"]


@pytest.mark.parametrize("output", [output_folder, output_file, figures_beside])
def test_a_shell_that_leaves_the_tilde_makes_no_folder_of_that_name(tmp_path, monkeypatch, output):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with output(Path("~/out")) as building:  # as of --out=~/out
        building.mkdir(exist_ok=True)
    assert names(tmp_path) == ["home"]
    assert names(tmp_path / "home") == ["out-figures" if output is figures_beside else "out"]


def test_a_folder_in_use_is_refused_and_kept(tmp_path):
    fill(tmp_path / "out", "old")
    with pytest.raises(
        FileExistsError, match="exists already: give another folder, or overwrite=True"
    ):
        fill(tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_text() == "old"


def test_overwrite_replaces_the_whole_folder(tmp_path):
    fill(tmp_path / "out", "old")
    (tmp_path / "out" / "tables" / "stale.csv").write_text("")
    fill(tmp_path / "out", overwrite=True)
    assert names(tmp_path / "out") == ["report.html", "tables"]
    assert "stale.csv" not in names(tmp_path / "out" / "tables")
    assert (tmp_path / "out" / "report.html").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_an_error_while_overwriting_keeps_the_old_folder(tmp_path):
    fill(tmp_path / "out", "old")

    def fail() -> None:
        with output_folder(tmp_path / "out", overwrite=True):
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert (tmp_path / "out" / "report.html").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_overwrite_spares_a_folder_we_did_not_write(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="was not written by this command alone"):
        fill(tmp_path / "thesis", overwrite=True)
    assert names(tmp_path / "thesis") == ["chapter.tex"]


def test_overwrite_is_advised_only_where_it_would_replace_the_folder(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"give another folder that is new or empty$"):
        fill(tmp_path / "thesis")
    fill(tmp_path / "out")
    with pytest.raises(FileExistsError, match="give another folder, or overwrite=True"):
        fill(tmp_path / "out")


def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out")
    assert names(tmp_path / "out") == ["report.html", "tables"]


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(FileExistsError, match="is a file: give a folder"):
        fill(tmp_path / "out", overwrite=True)


def write(path, text: str, overwrite: bool = False) -> None:
    with output_file(path, overwrite) as file:
        file.write_text(text)
        if text == "half":
            raise ValueError("stop")


def test_a_file_appears_when_complete_and_only_then(tmp_path):
    write(tmp_path / "a" / "out.csv", "new")
    assert (tmp_path / "a" / "out.csv").read_text() == "new"
    with pytest.raises(ValueError, match="stop"):
        write(tmp_path / "a" / "other.csv", "half")
    assert names(tmp_path / "a") == ["out.csv"]


def test_an_existing_file_is_replaced_only_when_asked(tmp_path):
    write(tmp_path / "out.csv", "old")
    with pytest.raises(FileExistsError, match="give another name, or overwrite=True to"):
        write(tmp_path / "out.csv", "new")
    assert (tmp_path / "out.csv").read_text() == "old"
    write(tmp_path / "out.csv", "new", overwrite=True)
    assert (tmp_path / "out.csv").read_text() == "new"


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(FileExistsError, match="is a folder: give the name of a file"):
        write(tmp_path, "new", overwrite=True)


def left(path, **files: str):
    """What a killed process leaves beside ``path``."""
    place = path.with_name(f".{path.name}.0a_bcdef.tmp")
    for name, text in files.items():
        (place / name).mkdir(parents=True)
        (place / name / "report.html").write_text(text)
    return place


def test_what_a_killed_process_left_is_taken_away_by_the_next_one(tmp_path):
    left(tmp_path / "out", new="half")
    left(tmp_path / "other", new="half")
    fill(tmp_path / "out")
    assert names(tmp_path) == [".other.0a_bcdef.tmp", "out"]
    assert (tmp_path / "out" / "report.html").read_text() == "new"


def test_the_folder_of_a_process_that_lives_is_left_alone(tmp_path):
    with output_folder(tmp_path / "out") as folder:
        (folder / "report.html").write_text("slow")
        fill(tmp_path / "out", "quick")
        (tmp_path / "out" / "report.html").unlink()
        (tmp_path / "out" / "tables").rmdir()
    assert (tmp_path / "out" / "report.html").read_text() == "slow"


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_whose_replacing_was_killed_half_way_has_its_name_again(tmp_path, overwrite):
    left(tmp_path / "out", old="old", new="new")
    if overwrite:
        fill(tmp_path / "out", "newer", overwrite=True)
    else:
        with pytest.raises(FileExistsError, match="exists already"):
            fill(tmp_path / "out", "newer")
    assert names(tmp_path) == ["out"]
    expected = "newer" if overwrite else "old"
    assert (tmp_path / "out" / "report.html").read_text() == expected


def test_a_link_in_the_place_of_a_leftover_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "old").write_text("mine")
    (tmp_path / ".out.0a_bcdef.tmp").symlink_to(tmp_path / "precious")
    fill(tmp_path / "out")
    assert names(tmp_path / "precious") == ["old"]


def test_an_interrupt_while_overwriting_keeps_the_old_folder(tmp_path, monkeypatch):
    fill(tmp_path / "out", "old")
    real = Path.rename

    def interrupted(self, target):
        real(self, target)
        if target.name == "old":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "out", overwrite=True)
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "report.html").read_text() == "old"


KILLED = """
import sys
from pathlib import Path
from kdanalysis.pages.publish import output_folder
with output_folder(Path(sys.argv[1])) as folder:
    (folder / "report.html").write_text("half")
    print("building", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_process_lets_go_of_its_folder(tmp_path):
    arguments = [sys.executable, "-c", KILLED, tmp_path / "out"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(arguments, text=True, **pipes) as process:
        assert process.stdout.readline() == "building\n"
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 1
    fill(tmp_path / "out")
    assert names(tmp_path) == ["out"]
