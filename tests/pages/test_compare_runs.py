"""Runs held against each other: one table a noun, one picture for all, and what may be chance."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers import load_nouns
from kdanalysis.pages.compare_runs import (
    BY_RUN,
    overview_sentence,
    runs_study,
    settings_of,
)
from kdanalysis.pages.nouns import in_time
from kdanalysis.studies.opening import open_sources
from kdanalysis.studies.run import open_run, table_names

GDKD3 = "GDKD(k=3, weights=(1.0, 1.0, 8.0), temperature=8.0, strategy='best', divergence='forward')"


@pytest.fixture
def sources(make_run):
    return open_sources([make_run("kd"), make_run("gdkd", GDKD3)], 400)


def test_every_noun_compared_is_a_table_of_runs():
    assert set(BY_RUN) <= set(table_names())


def test_all_runs_are_looked_at_with_the_first_settings_stated(sources, make_run):
    assert settings_of(sources) == (2.0, 3)
    assert settings_of(sources, temperature=1) == (1.0, 3)
    parts = runs_study(sources).parts
    alone = open_run(make_run("same", GDKD3.replace("8.0, s", "2.0, s"))).table("magnitude")
    compared = parts["magnitude"]["gdkd"].query("loss != 'trained'").reset_index(drop=True)
    assert "trained" in set(parts["magnitude"]["gdkd"].loss)  # its T is not the one compared at
    alone = alone.query("loss != 'trained'").reset_index(drop=True)
    pd.testing.assert_frame_equal(compared, alone)


def test_the_page_joins_the_tables_and_draws_all_runs_in_each_picture(sources):
    page = runs_study(sources)
    of_runs = [noun for noun in BY_RUN if noun != "embedding"]  # they hold no features
    assert {section.name for section in page.sections} == {"runs", *of_runs}
    assert list(page.tables) == ["runs", *of_runs]
    for noun in of_runs:
        assert page.tables[noun].run.unique().tolist() == ["kd", "gdkd"]
        for run in ("kd", "gdkd"):
            part = page.tables[noun].query("run == @run").drop(columns="run").reset_index(drop=True)
            pd.testing.assert_frame_equal(part, page.parts[noun][run], check_dtype=False)
    for section in page.sections:
        if section.name == "runs":
            continue
        known = load_nouns()[section.name]
        own = known.pictures_of_all
        assert len(section.figures) == len(own) + len(BY_RUN[section.name]) > 0, section.name
        if known.reading_of_all is None:
            for line in section.text.splitlines():
                assert line.startswith(("run kd: ", "run gdkd: "))
    magnitude = next(section for section in page.sections if section.name == "magnitude")
    (legend,) = magnitude.figures[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["kd", "gdkd"]
    assert page.facts["losses compared"] == "KD, DKD and GDKD at temperature 2 and k 3"
    assert page.formats == ("csv", "parquet")
    page.html()


def test_the_overview_holds_the_shares_of_the_last_epoch(sources, logits):
    frame = runs_study(sources).tables["runs"]
    teacher, student, target = (values[30:] for values in logits)
    accuracy = (student.argmax(1) == target).mean()
    assert frame.student_accuracy.tolist() == pytest.approx([accuracy] * 2)
    agreed = (student.argmax(1) == teacher.argmax(1)).mean()
    assert frame.agreement.tolist() == pytest.approx([agreed] * 2)
    assert frame.n.tolist() == [30, 30]
    gdkd = "gdkd:k=3,weights=1/1/8,temperature=8,strategy=best,divergence=forward"
    assert frame.loss.tolist() == ["kd:temperature=2", gdkd]
    share = max((accuracy, agreed), key=lambda share: share * (1 - share))
    share = (30 * share + 1) / 32  # of steps of trainings: as of independent samples
    assert frame.chance.tolist() == pytest.approx([2 * np.sqrt(2 * share * (1 - share) / 32)] * 2)


def frame_of(**columns) -> pd.DataFrame:
    return pd.DataFrame({"run": ["kd", "dkd"], "n": [400, 100], "chance": [0.1, 0.141], **columns})


def test_the_sentence_names_the_best_and_what_may_be_chance():
    frame = frame_of(agreement=[0.5, 0.7], student_accuracy=[0.9, 0.1])
    text = overview_sentence(frame)
    assert text.startswith(
        "The student of dkd agrees most with its teacher (70.0 %), and the student of kd is right "
        "most often (90.0 %). Differences below 14.1 points"
    )
    same = overview_sentence(frame_of(agreement=[0.7, 0.7], student_accuracy=[0.1, 0.9]))
    assert same.startswith(
        "All students agree with their teacher equally often (70.0 %), and the student of dkd is "
        "right most often (90.0 %)."
    )
    one = overview_sentence(frame_of(agreement=[0.5, 0.7], student_accuracy=[0.1, 0.9]))
    assert one.startswith(
        "The student of dkd agrees most with its teacher (70.0 %) and is right most often (90.0 %)."
    )
    other = pd.DataFrame({"run": ["nkd"], "n": [9], "agreement": 0.1, "student_accuracy": 0.1})
    two = pd.concat([frame_of(agreement=[0.7] * 2, student_accuracy=[0.9] * 2), other])
    assert "The students of kd, dkd agree with their teacher most often, all alike (70.0 %)" in (
        overview_sentence(two)
    )


def test_of_one_sample_all_differences_may_be_chance():
    frame = frame_of(agreement=[0.5, 0.7], student_accuracy=[0.9, 0.1]).assign(n=1, chance=1.4)
    assert "All differences are within two standard errors of 1 sample a run" in (
        overview_sentence(frame)
    )


def test_without_labels_only_agreement_is_left(tmp_path, logits):
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", teacher_logits=logits[0], student_logits=logits[1])
    sources = open_sources([tmp_path / "a.npz", tmp_path / "b.npz"], 400)
    study = runs_study(sources)
    assert list(study.tables) == ["runs", "agreement", "relation", "discrepancy", "suppression"]
    assert "is right" not in overview_sentence(study.tables["runs"])
    sections = study.sections
    assert {section.name for section in sections} == {*study.tables}
    pictures = {section.name: len(section.figures) for section in sections}
    assert pictures["relation"] == 1  # all at the end: there are no steps
    (relation,) = (section for section in sections if section.name == "relation")
    assert relation.figures[0].caption.endswith("the classes outside the top ones")
    assert "step" not in relation.number
    assert "over all samples, without top-1" in relation.number


def test_captions_and_titles_tell_the_end_of_a_training_where_there_is_one():
    steps = {name: pd.DataFrame({"step": [0, 8]}) for name in ("a", "b")}
    alone = {name: table[:1] for name, table in steps.items()}
    for text in ("Relations, at the end", "Relations, over training", "Relations over training"):
        assert in_time(text, steps) == in_time(text, {**alone, "c": steps["a"]}) == text
        assert in_time(text, alone) == in_time(text, alone["a"]) == "Relations"
    assert in_time("The ladder over training", pd.DataFrame({"epoch": [1]})).endswith("training")


def test_samples_that_are_not_finite_everywhere_leave_nothing_to_say():
    frame = frame_of(agreement=[np.nan, np.nan], student_accuracy=[np.nan, np.nan])
    assert overview_sentence(frame) == "No sample is left to compare the students on."


def test_runs_and_single_logits_are_not_mixed(make_run, tmp_path, logits):
    np.savez(tmp_path / "end.npz", teacher_logits=logits[0], student_logits=logits[1])
    sources = open_sources([make_run("kd"), tmp_path / "end.npz"], 400)
    with pytest.raises(ValueError, match=r"kd holds the steps of a training, .*end\.npz one set"):
        settings_of(sources)


def test_tables_of_pairs_of_classes_are_left_out_where_there_are_too_many(tmp_path):
    sides = np.random.default_rng(0).normal(size=(2, 20, 201)).astype(np.float32)
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", teacher_logits=sides[0], student_logits=sides[1])
    tables = runs_study(open_sources([tmp_path / "a.npz", tmp_path / "b.npz"], 400)).tables
    assert "discrepancy" not in tables
    assert "relation" in tables
