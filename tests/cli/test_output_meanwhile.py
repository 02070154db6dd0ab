"""What comes into the place of output while it is written stays, as of a command run twice."""

import multiprocessing
import sys

import pytest

from kdanalysis.pages.publish import figures_beside, output_file, output_folder


def fill(path, text: str, overwrite: bool = False) -> None:
    with output_folder(path, overwrite) as folder:
        (folder / "report.html").write_text(text)


def test_what_came_into_the_place_meanwhile_is_refused_and_kept(tmp_path):
    def twice() -> None:
        with output_folder(tmp_path / "out"):
            fill(tmp_path / "out", "the other's")

    with pytest.raises(FileExistsError, match="out exists already"):
        twice()
    assert (tmp_path / "out" / "report.html").read_text() == "the other's"
    with output_folder(tmp_path / "out", overwrite=True) as folder:
        fill(tmp_path / "out", "the other's again", overwrite=True)
        (folder / "report.html").write_text("the last one's")  # as asked for
    assert (tmp_path / "out" / "report.html").read_text() == "the last one's"


@pytest.mark.parametrize("output", [output_file, figures_beside])
def test_so_is_a_file_and_a_folder_of_figures(tmp_path, output):
    def twice() -> None:
        with output(tmp_path / "out") as building:
            if output is output_file:
                building.write_text("ours")
            there = tmp_path / ("out" if output is output_file else "out-figures/one.svg")
            there.parent.mkdir(exist_ok=True)
            there.write_text("the other's")

    with pytest.raises(FileExistsError, match="exists already"):
        twice()
    (there,) = (path for path in tmp_path.rglob("o*") if path.is_file())
    assert there.read_text() == "the other's"


def at_once(path, output, overwrite, begin, said) -> None:
    """What a process does, and how it ends."""
    ended = ""
    try:
        begin.wait()
        with output(path, overwrite) as building:
            (building / "report.html" if building.is_dir() else building).write_text("ours")
    except BaseException as error:
        ended = f"{type(error).__name__}: {error}"
    said.put(ended)


@pytest.mark.skipif(sys.platform == "win32", reason="no folder can be locked there")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("output", [output_folder, output_file])
def test_of_commands_at_once_one_is_the_first_and_the_others_are_told(tmp_path, output, overwrite):
    """Started together, a few dozen times: none meets the half-made place of another."""
    fork = multiprocessing.get_context("fork")
    for place in range(25):
        path, begin, said = tmp_path / str(place), fork.Barrier(3), fork.SimpleQueue()
        if overwrite:
            with output(path) as old:
                (old / "report.html" if old.is_dir() else old).write_text("old")
        given = path, output, overwrite, begin, said
        processes = [fork.Process(target=at_once, args=given) for _ in range(3)]
        for process in processes:
            process.start()
        ended = sorted(said.get() for _ in processes)
        for process in processes:
            process.join()
        assert ended[: 3 if overwrite else 1] == [""] * (3 if overwrite else 1)
        assert all("exists already: give another" in one for one in ended if one)
        assert overwrite or all(ended[1:])
    assert {one.name for one in tmp_path.iterdir()} == {str(place) for place in range(25)}
