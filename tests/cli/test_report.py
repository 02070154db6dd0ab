"""`report` writes the page of runs, whole or not at all."""

import numpy as np
import pytest

from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter


@pytest.mark.usefixtures("undrawn")
def test_the_page_of_a_run_appears(run_command, run_folder, tmp_path):
    out = tmp_path / "report.html"
    result = run_command("report", run_folder, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert "Distillation run gdkd" in out.read_text()
    assert run_command("report", run_folder, "-o", out).exit_code == 2


@pytest.mark.usefixtures("undrawn")
def test_figures_go_to_a_folder_beside_the_page(run_command, run_folder, tmp_path):
    out, kinds = tmp_path / "page.html", ("--figures", "svg,pdf")
    result = run_command("report", run_folder, "-o", out, *kinds)
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "page-figures"
    names = {path.name for path in folder.iterdir()}
    assert {"magnitude.svg", "magnitude.pdf", "conflict_over_training.svg"} <= names
    again = run_command("report", run_folder, "-o", out, "--figures", "svg", "--overwrite")
    assert again.exit_code == 0, again.stderr
    assert {path.name for path in folder.iterdir()} == {n for n in names if n.endswith("svg")}
    (folder / "thesis.tex").write_text("three years")
    refused = run_command("report", run_folder, "-o", out, "--figures", "svg", "--overwrite")
    assert refused.exit_code == 2
    assert "it holds 'thesis.tex'" in refused.stderr


def test_a_folder_that_is_no_run_leaves_no_page(run_command, run_folder, tmp_path):
    result = run_command("report", run_folder, tmp_path, "-o", tmp_path / "report.html")
    assert result.exit_code == 2
    assert "is not a run folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["gdkd"]


def test_a_run_given_twice_is_refused(run_command, run_folder, tmp_path):
    result = run_command("report", run_folder, run_folder, "-o", tmp_path / "report.html")
    assert result.exit_code == 2
    assert "is given twice: every run or file must be another one" in result.stderr


def test_runs_over_other_classes_are_refused_as_compare_refuses_them(run_command, tmp_path):
    for name, classes in (("kd", 8), ("dkd", 6)):
        with PartWriter(tmp_path / name, 0, RunInfo(classes, None, "KD()", ("kd",))) as writer:
            sides = np.random.default_rng(0).normal(size=(2, 20, classes)).astype(np.float32)
            rows = dict(zip(("teacher_logits", "student_logits"), sides, strict=True))
            rows |= dict.fromkeys(("step", "epoch"), np.zeros(20, int))
            writer.write(rows | {"sample_id": np.arange(20)})
    runs, out = (tmp_path / "kd", tmp_path / "dkd"), ("-o", tmp_path / "report.html")
    refused = [run_command("report", *runs, *out), run_command("compare", *runs)]
    assert [result.exit_code for result in refused] == [2, 2]
    assert refused[0].stderr == refused[1].stderr
    assert "kd has 8 classes and dkd has 6: only logits over the same" in refused[0].stderr
    assert not (tmp_path / "report.html").exists()
