"""Rows without a label are in every table that needs none, and counted where one is needed."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.students.agreement import Agreement
from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.suppression import Suppression
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.losses import DKD, KD
from kdanalysis.pages.teacher import diagnose
from kdanalysis.studies.compute import compute, without_label
from kdanalysis.studies.opening import open_source

RNG = np.random.default_rng(0)
TEACHER, STUDENT = RNG.normal(size=(2, 90, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, 90)
NONE = RNG.random(90) < 0.3
TARGET = np.where(NONE, -1, LABELS)


def tables(rows, target, *analyzers):
    arrays = {"teacher_logits": TEACHER[rows], "student_logits": STUDENT[rows], "target": target}
    source = open_source({name: values for name, values in arrays.items() if values is not None})
    made = {str(place): one for place, one in enumerate(analyzers)}
    return source, list(compute(source, made, batch_size=16).values())


def test_tables_that_need_labels_are_those_of_the_labelled_rows():
    wanted = lambda: (Calibration(5), TermMagnitude({"dkd": DKD()}))  # noqa: E731
    source, found = tables(slice(None), TARGET, *wanted())
    _, expected = tables(~NONE, LABELS[~NONE], *wanted())
    for ours, theirs in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(ours, theirs)
    assert source.unlabelled == NONE.sum()
    assert without_label(source) == (
        f", {NONE.sum()} of them without a label, left out where one is needed"
    )


def test_tables_that_need_none_are_those_of_all_rows():
    wanted = lambda: (TermMagnitude({"kd": KD()}),)  # noqa: E731
    _, (found,) = tables(slice(None), TARGET, *wanted())
    _, (expected,) = tables(slice(None), None, *wanted())
    pd.testing.assert_frame_equal(found, expected)


def test_the_card_has_every_row_in_what_needs_no_label_and_the_labelled_in_the_rest():
    wanted = lambda: (TeacherDistribution(5, (1.0, 4.0)), Suppression(5, (1.0,)))  # noqa: E731
    _, (card, _) = tables(slice(None), TARGET, *wanted())
    _, (free, _) = tables(slice(None), None, *wanted())
    _, (labelled, _) = tables(~NONE, LABELS[~NONE], *wanted())
    needs = {"accuracy", "ece_15", "nll", "suppression", "confident_wrong"}
    pd.testing.assert_frame_equal(
        card[~card.quantity.isin(needs)].reset_index(drop=True), free.reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(
        card[card.quantity.isin(needs)].reset_index(drop=True),
        labelled[labelled.quantity.isin(needs)].reset_index(drop=True),
    )


def test_accuracies_are_over_the_labelled_and_agreement_over_all():
    _, (found,) = tables(slice(None), TARGET, Agreement())
    student, teacher = STUDENT.argmax(1), TEACHER.argmax(1)
    assert found.n.tolist() == [90]
    assert found.agreement[0] == pytest.approx((student == teacher).mean())
    assert found.student_accuracy[0] == pytest.approx((student == LABELS)[~NONE].mean())
    assert found.teacher_accuracy[0] == pytest.approx((teacher == LABELS)[~NONE].mean())


def test_a_page_says_how_many_rows_have_no_label(tmp_path):
    np.savez(tmp_path / "x.npz", logits=TEACHER, y=np.where(NONE, -100, LABELS))
    said = diagnose(tmp_path / "x.npz").facts["labels"]
    count = NONE.sum()
    assert said == f"yes; {count} of 90 samples without one: left out where one is needed"


def test_labels_that_none_has_are_no_labels():
    source, (card,) = tables(slice(None), np.full(90, -1), TeacherDistribution(5))
    assert "accuracy" not in set(card.quantity)
    assert source.unlabelled == 90


@pytest.mark.parametrize(("count", "verb"), [(1, "1 sample has"), (30, "30 samples have")])
def test_rows_of_one_value_are_counted_and_named_in_the_card(tmp_path, count, verb):
    teacher = TEACHER.copy()
    teacher[:count] = 0.25
    np.savez(tmp_path / "x.npz", logits=teacher)
    study = diagnose(tmp_path / "x.npz")
    card = study.tables["teacher"]
    (row,) = card[card.quantity == "constant"].itertuples()
    assert (row.value, np.isnan(row.temperature)) == (count, True)
    assert study.readings["teacher"].number.startswith(f"{verb} the same logit for every class")
    assert "counted in" in study.html()


def test_a_card_without_such_rows_says_nothing_of_them():
    _, (card,) = tables(slice(None), None, TeacherDistribution(5))
    assert "constant" not in set(card.quantity)
