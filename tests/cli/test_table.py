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


def test_rows_that_a_table_leaves_out_are_counted(run_command, soft_folder, tmp_path):
    told = "with a target over several classes, left out where one label is needed"
    printed = run_command("table", soft_folder, "magnitude")
    assert " ".join(printed.stdout.split()).count(f"8 samples, 5 of them {told}") == 1
    out = tmp_path / "nckd.csv"
    written = run_command("table", soft_folder, "nckd", "--out", out).stdout
    assert "; 8 samples, 5 of them without a label, left out where one is needed" in written
    assert pd.read_csv(out).groupby("part").n.sum().tolist() == [3, 3]
    said = run_command("table", soft_folder, "mass").stdout
    assert "left out" not in said


def test_info_says_how_many_targets_are_over_several_classes(run_command, soft_folder):
    said = " ".join(run_command("info", soft_folder).stdout.split())
    assert "targets over several classes in 5 samples, kept as float32" in said
