"""The page of runs: all tables their columns allow, run beside run."""

from dataclasses import replace

import pandas as pd
import pytest
from page_reader import Reader

from kdanalysis.analyzers import load_nouns
from kdanalysis.pages.groups import GROUPS
from kdanalysis.pages.html.page import build
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.run import report, run_study, run_tables
from kdanalysis.studies.opening import short_names
from kdanalysis.studies.run import ORDER, open_run
from kdanalysis.studies.source import Source

TABLES = [name for name in ORDER if load_nouns()[name].kind == "samples"]
PLACES = [name for nouns in GROUPS.values() for name in nouns if name in TABLES]


@pytest.fixture(scope="module")
def one(make_run):
    return make_run("kd")


@pytest.fixture(scope="module")
def page_of_one(one):
    return report({"kd": open_run(one)})


@pytest.fixture(scope="module")
def page_of_two(make_run):
    return report({name: open_run(make_run(name)) for name in ("kd", "gdkd")})


def test_one_run_shows_every_table(page_of_one):
    page = page_of_one
    assert [section.name for section in page.sections] == PLACES
    assert list(page.tables) == TABLES
    assert page.facts["loss"] == "kd:temperature=2"
    for section in page.sections[1:]:
        assert section.figures, section.text


def test_what_is_likely_wrong_with_rows_stands_among_the_facts(one):
    sources = {name: Source(name, None, open_run(one)) for name in ("a", "b")}
    tables = {name: run_tables(source) for name, source in sources.items()}
    sources["a"].paired = {("student", "teacher"): "rows are one apart"}
    alone = run_study({"a": sources["a"]}, {"a": tables["a"]}).facts
    assert alone["likely wrong"] == "rows are one apart"
    both = run_study(sources, tables).facts
    assert "rows are one apart" in both["a"]
    assert "rows are one apart" not in both["b"]


def test_every_table_has_pictures_and_a_reading():
    for name in ORDER[1:]:
        assert load_nouns()[name].pictures, name
        assert load_nouns()[name].reading, name


def html(study) -> str:
    """The page with the pictures that name classes, and others of a line, of bars and of cells."""
    drawn = ("teacher", "profile", "magnitude", "share", "discrepancy")
    sections = [
        section if section.name in drawn else replace(section, figures=[])
        for section in study.sections
    ]
    return build(sections, study.title, study.facts)


def test_the_same_run_gives_the_same_page_and_class_names_show_as_written(one, page_of_one):
    page, again = (html(study) for study in (report({"kd": open_run(one)}), page_of_one))
    assert page == again
    reader = Reader(page)
    assert reader.all("b") == []
    assert "<b>cat</b>" in reader.text


def test_several_runs_stand_beside_each_other(page_of_two):
    page = page_of_two
    names = [section.name for section in page.sections]
    assert names == ["teacher", *PLACES[1:]]  # one teacher and the same samples: one card
    assert page.sections[0].title == "Teacher card of kd, gdkd"
    (share,) = (section for section in page.sections if section.name == "share")
    (shown,) = share.figures  # one for both
    drawn = {text.get_text().split(", ")[-1] for text in shown.figure.axes[0].get_yticklabels()}
    assert drawn == {"student kd", "student gdkd"}
    assert page.tables["share"].run.unique().tolist() == ["kd", "gdkd"]


def test_students_of_several_runs_are_drawn_in_one_picture(page_of_two):
    page = page_of_two
    by_name = {section.name: section for section in page.sections}
    relation, discrepancy = by_name["relation"], by_name["discrepancy"]
    starts = [shown.caption.partition(":")[0] for shown in relation.figures]
    assert starts[0].startswith("How alike every student")
    assert starts[1:] == ["Tau-b over the steps"]
    assert "gdkd +0.000" in relation.text  # the same logits
    assert "(not seen)" in relation.text
    assert len(discrepancy.figures) == 2  # the maps, the correlations
    assert [ax.get_ylabel() for ax in discrepancy.figures[0].figure.axes[:4:3]] == [
        "kd\ntrue class",
        "gdkd\ntrue class",
    ]
    ((caption, shown),) = discrepancy.tables
    assert "too long for a page" in caption
    assert shown.columns.tolist()[:3] == ["run", "map", "rms"]
    assert len(page.tables["discrepancy"]) == 2 * 49


def test_tables_of_all_pairs_of_many_classes_are_left_out(make_run, monkeypatch):
    monkeypatch.setattr("kdanalysis.studies.run.MOST_CLASSES", 6)
    page = report({"kd": open_run(make_run("kd"))})
    assert set(TABLES) - set(page.tables) == {"profile", "modality", "discrepancy"}


def test_tables_without_their_columns_are_left_out(make_run):
    page = report({"student": open_run(make_run("student", teacher=False))})
    assert page.sections == []


def test_a_table_that_cannot_be_drawn_says_why(make_run):
    table = open_run(make_run("kd")).table("share").drop(columns="term")
    section = noun_section("share", {"": table})
    assert section.figures == []
    assert section.text.startswith("Not to be drawn from these data: ")
    assert len(section.tables) == 1


def test_runs_are_named_by_their_folders_where_that_tells_them_apart(tmp_path):
    one, other, far = tmp_path / "kd", tmp_path / "gdkd", tmp_path / "old" / "kd"
    assert list(short_names([one, other])) == ["kd", "gdkd"]
    assert list(short_names([one, other, far])) == [str(one), "gdkd", str(far)]
    with pytest.raises(ValueError, match="kd is given twice"):
        short_names([one, one])


def test_files_are_named_without_their_suffix_where_that_tells_them_apart(tmp_path):
    names = ("kd.npz", "dkd.npz", "dkd.pt", "v1.5/kd.npz", "gdkd.npz")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    one, two, three, far, alone = (tmp_path / name for name in names)
    assert list(short_names([one, two])) == ["kd", "dkd"]
    assert list(short_names([one, two, three])) == ["kd", "dkd.npz", "dkd.pt"]
    assert list(short_names([one, far, alone])) == [str(one), str(far), "gdkd"]
    assert list(short_names([alone, tmp_path / "v1.5"])) == ["gdkd", "v1.5"]  # a run's folder
    (tmp_path / "gdkd").mkdir()
    assert list(short_names([alone, tmp_path / "gdkd"])) == ["gdkd.npz", "gdkd"]


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match="a page needs at least one run"):
        report({})


def test_a_table_with_nothing_to_sum_up_is_shown_as_it_is():
    pair = {"step": 0, "epoch": 0, "layer": "logits", "term_a": "kd", "term_b": "kd"}
    values = {"dot": 1.0, "norm_a": 1.0, "norm_b": 1.0, "cosine": 1.0, "conflict": 0.0}
    table = pd.DataFrame([{**pair, **values, "n": 1, "non_finite": 0}])
    section = noun_section("layer_conflict", {"": table})
    assert section.text.startswith("Not to be drawn from these data: ")
    ((caption, shown),) = section.tables
    assert caption.startswith("Table layer_conflict: Cosines of")
    assert shown is table
