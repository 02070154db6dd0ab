"""What comes into the place of output while it is written stays, as of a command run twice."""

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
