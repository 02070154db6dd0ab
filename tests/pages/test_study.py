"""What users call gives a Study: tables, readings, pictures, a page and a folder."""

import gc
import re

import numpy as np
import pandas as pd
import pytest

import kdanalysis as kd
from kdanalysis.pages.html import Section, Shown
from kdanalysis.pages.run import report
from kdanalysis.pages.study import Study


@pytest.fixture
def arrays(logits):
    return dict(zip(("teacher_logits", "student_logits", "target"), logits, strict=True))


def test_a_teacher_is_diagnosed_from_arrays_and_from_files_alike(arrays, tmp_path):
    np.savez(tmp_path / "both.npz", **arrays)
    from_file, from_arrays = kd.diagnose(tmp_path / "both.npz"), kd.diagnose(arrays)
    assert list(from_file.tables) == list(from_arrays.tables)
    for name, table in from_file.tables.items():
        pd.testing.assert_frame_equal(table, from_arrays.tables[name])


def test_readings_are_those_of_the_nouns(arrays):
    study = kd.diagnose(arrays)
    assert study.readings["mass"] == kd.analyzers["mass"].reading(study.tables["mass"])
    assert set(study.readings) <= set(study.tables)


def test_readings_of_several_runs_say_of_which_each_is(make_run, tmp_path):
    study = kd.compare([make_run("kd"), make_run("gdkd")])
    for reading in study.readings.values():
        names = [line.partition(":")[0] for line in reading.sentence.split("\n")]
        assert len({*names}) == len(names)


def test_a_name_that_is_not_there_is_answered_with_those_that_are(arrays):
    study = kd.diagnose(arrays)
    for held in (study.tables, study.readings, kd.analyzers):
        with pytest.raises(KeyError, match=r"there is no 'mas'; there are: \w+, .*"):
            held["mas"]
        assert "mas" not in held


def test_a_figure_is_drawn_on_the_axes_given_or_in_a_figure_of_its_own(arrays):
    study, ax = kd.diagnose(arrays), kd.new_axes()
    assert study.figure("mass", ax) is ax
    assert ax.lines
    alone = study.figure("mass")
    assert alone is not ax.figure
    assert alone._repr_png_().startswith(b"\x89PNG")
    assert study.figure("amplification", picture=1).axes
    with pytest.raises(ValueError, match=r"no picture of 'nothing'; there are pictures of: .*mass"):
        study.figure("nothing")
    with pytest.raises(ValueError, match=r"no picture of 'mas'; did you mean 'mass'\?"):
        study.figure("mas")
    with pytest.raises(ValueError, match="no picture 7 of 'mass'"):
        study.figure("mass", picture=7)


def test_a_notebook_shows_the_sentences_escaped(arrays):
    shown = kd.diagnose(arrays)._repr_html_()
    assert "Top-k mass" in shown
    assert "<script" not in shown
    assert kd.diagnose(arrays).readings["mass"].number in shown


def test_a_study_is_saved_whole_or_refused(arrays, tmp_path):
    study = kd.diagnose(arrays)
    study.save(tmp_path / "card")
    assert (tmp_path / "card" / "report.html").read_text().startswith("<!doctype html>")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "card" / "tables" / "mass.csv"), study.tables["mass"]
    )
    with pytest.raises(FileExistsError, match="exists already"):
        study.save(tmp_path / "card")
    assert not (tmp_path / "card" / "figures").exists()
    study.save(tmp_path / "card", overwrite=True, figures=["svg"])
    assert (tmp_path / "card" / "figures" / "amplification_of_gdkd.svg").is_file()
    with pytest.raises(ValueError, match="figures cannot be written as 'gif': need svg, png, pdf"):
        study.save(tmp_path / "other", figures="gif")


def test_figures_are_named_by_table_drawing_and_run(make_run):
    runs = {"a/kd": kd.open_run(make_run("kd")), "gdkd": kd.open_run(make_run("gdkd"))}
    names = [shown.name for section in report(runs).sections for shown in section.figures]
    assert len(names) == len(set(names)) > 15
    assert not [name for name in names if re.search(r"-\d+$|/", name)]
    assert {"magnitude", "mass-a-kd-gdkd", "relation", "multiplier_by_run"} <= {*names}


def test_names_that_would_be_one_file_are_numbered(tmp_path):
    ax = kd.new_axes()
    twice = [Section("s", "S", figures=[Shown("", lambda: ax.figure, "share-a")] * 2)]
    Study("T", {}, {}, lambda: twice).write_figures(tmp_path, ["svg"])
    assert {path.name for path in tmp_path.iterdir()} == {"share-a.svg", "share-a-2.svg"}


@pytest.mark.parametrize("losses", ["kd,gdkd:k=3", ["kd", "gdkd:k=3"], None])
def test_losses_are_compared_by_text_or_by_name(arrays, losses):
    losses = losses or {"kd": kd.KD(), "gdkd": kd.GDKD(k=3)}
    study = kd.compare(arrays, losses=losses)
    assert study.tables["losses"].loss.tolist() == ["kd", "gdkd"]
    assert list(study.tables) == ["losses", "direction", "magnitude", "share", "conflict"]


def test_nothing_to_compare_is_said(arrays):
    with pytest.raises(ValueError, match="arrays alone has nothing to be compared with"):
        kd.compare(arrays)
    for none in ({}, [], iter(())):
        with pytest.raises(ValueError, match="nothing to compare: give a file of logits, a run"):
            kd.compare(none)
    with pytest.raises(ValueError, match="kd alone cannot be compared"):
        kd.compare(arrays, losses="kd")
    with pytest.raises(ValueError, match=f"{re.escape(__file__)} is a file or folder: put all"):
        kd.compare(arrays, __file__)
    with pytest.raises(ValueError, match="unknown loss"):
        kd.compare(arrays, 999 * "long")
    with pytest.raises(ValueError, match="matching norms is for losses"):
        kd.compare({"a": arrays, "b": arrays}, match_norm=True)


def test_students_are_compared_by_names_of_your_own(arrays):
    study = kd.compare({"kd": arrays, "gdkd": arrays})
    assert study.tables["runs"].run.tolist() == ["kd", "gdkd"]
    assert study.tables["agreement"].run.unique().tolist() == ["kd", "gdkd"]
    assert "(not seen)" in study.readings["relation"].sentence


def test_what_was_opened_has_tables_figures_and_a_report(make_run, tmp_path):
    run = make_run("kd")
    opened = kd.open(run)
    assert "magnitude" in opened.names
    assert "layers" not in opened.names
    alone = kd.open_run(run).table("magnitude")
    pd.testing.assert_frame_equal(opened.table("magnitude"), alone)
    assert opened.table("magnitude") is opened.table("magnitude")
    assert opened.figure("share").axes[0].patches
    opened.report(tmp_path / "page.html")
    assert "Share of each term" in (tmp_path / "page.html").read_text()
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine.html exists already: .* or overwrite=True"):
        opened.report(tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "mine"
    opened.report(tmp_path / "mine.html", overwrite=True)
    assert (tmp_path / "mine.html").read_text() == (tmp_path / "page.html").read_text()


def test_a_file_of_logits_is_opened_too(arrays, tmp_path):
    np.savez(tmp_path / "teacher.npz", logits=arrays["teacher_logits"])
    opened = kd.open(tmp_path / "teacher.npz")
    assert set(opened.names) >= {"teacher", "mass", "suppression"}
    assert "share" not in opened.names
    with pytest.raises(ValueError, match="table 'share' needs the column 'student_logits'"):
        opened.table("share")
    with pytest.raises(ValueError, match="did you mean 'mass'"):
        opened.table("mas")


def test_while_a_page_is_made_no_garbage_is_looked_for():
    looked = []
    Study("T", {}, {}, lambda: looked.append(gc.isenabled()) or []).html()
    assert looked == [False]
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        Study("T", {}, {}, lambda: 1 // 0).html()
    assert gc.isenabled()
