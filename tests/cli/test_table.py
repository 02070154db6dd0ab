"""`table` prints one table of a run or writes it with every digit."""

import pandas as pd
import pytest

from kdanalysis.studies.run import open_run


def test_every_row_is_printed(run_command, run_folder):
    result = run_command("table", run_folder, "mass")
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 3 + len(open_run(run_folder).table("mass"))


@pytest.mark.parametrize(("suffix", "read"), [(".csv", pd.read_csv), (".parquet", pd.read_parquet)])
def test_a_file_holds_the_table_in_full(run_command, run_folder, tmp_path, suffix, read):
    out = tmp_path / f"mass{suffix}"
    assert run_command("table", run_folder, "mass", "--out", out).exit_code == 0
    pd.testing.assert_frame_equal(read(out), open_run(run_folder).table("mass"), rtol=1e-15)


def test_an_unknown_name_lists_the_valid_ones(run_command, run_folder):
    result = run_command("table", run_folder, "magnitudes")
    assert result.exit_code == 2
    assert "did you mean 'magnitude'?" in result.stderr
    assert "conflict" in result.stderr


def test_another_kind_of_file_is_refused(run_command, run_folder, tmp_path):
    result = run_command("table", run_folder, "mass", "--out", tmp_path / "mass.xlsx")
    assert result.exit_code == 2
    assert "need a name that ends in .csv, .parquet or .tex" in result.stderr
    assert not (tmp_path / "mass.xlsx").exists()


def test_a_tex_file_is_a_tabular_of_every_row_and_column(run_command, run_folder, tmp_path):
    out = tmp_path / "share.tex"
    assert run_command("table", run_folder, "share", "--out", out).exit_code == 0
    frame, text = open_run(run_folder).table("share"), out.read_text()
    lines = text.splitlines()
    assert lines[0].startswith(r"\begin{tabular}{ll")
    head = [cell.strip() for cell in lines[2].removesuffix(r"\\").split("&")]
    assert head == [name.replace("_", r"\_") for name in frame.columns]
    rows = [line for line in lines[4:] if line.endswith(r"\\")]
    assert len(rows) == len(frame)
    for row, share in zip(rows, frame.share, strict=True):
        assert float(row.split("&")[2]) == pytest.approx(share, abs=1e-4)
    assert r"low\_other" in text
