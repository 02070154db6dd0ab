"""Accuracies and agreement agree with sklearn's accuracy of the arg max, step by step."""

import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score

from kdanalysis.analyzers.students.agreement import Agreement
from tests.analyzers.reference import logits, targets

TEACHER = logits(1)
STUDENT = torch.where(torch.arange(60).unsqueeze(-1) % 3 > 0, TEACHER, logits(0))
TARGET = torch.where(torch.arange(60) % 2 == 0, TEACHER.argmax(-1), targets(2))
STEP, EPOCH = torch.arange(60) // 20 * 5, torch.arange(60) // 40


def filled(student=STUDENT, split: int = 13) -> Agreement:
    metric = Agreement((0, 5, 10))
    for rows in (slice(None, split), slice(split, None)):
        metric.update(student[rows], TEACHER[rows], TARGET[rows], STEP[rows], EPOCH[rows])
    return metric


def test_shares_agree_with_sklearn():
    frame = filled().table()
    assert frame.step.tolist() == [0, 5, 10]
    assert frame.epoch.tolist() == [0, 0, 1]
    for row in frame.itertuples():
        here = row.step == STEP
        student, teacher = STUDENT[here].argmax(-1), TEACHER[here].argmax(-1)
        assert row.agreement == pytest.approx(accuracy_score(teacher, student))
        assert row.student_accuracy == pytest.approx(accuracy_score(TARGET[here], student))
        assert row.teacher_accuracy == pytest.approx(accuracy_score(TARGET[here], teacher))
        assert 0.2 < row.student_accuracy < row.teacher_accuracy < row.agreement + 0.5 < 1.5
        assert row.n == 20


def test_without_labels_there_is_agreement_alone():
    metric = Agreement()
    metric.update(STUDENT, TEACHER)
    row = metric.table().iloc[0]
    assert row.agreement == pytest.approx(filled().table().agreement.mean())
    assert pd.isna(row.student_accuracy)
    assert pd.isna(row.teacher_accuracy)


def test_non_finite_rows_are_counted_and_left_out():
    student = STUDENT.clone()
    student[[1, 30]] = torch.nan
    frame = filled(student).table()
    assert frame.n.tolist() == [19, 19, 20]
    assert (frame.non_finite == 2).all()


def test_halves_merge_into_the_whole():
    left, right = Agreement((0, 5, 10)), Agreement((0, 5, 10))
    left.update(STUDENT[:33], TEACHER[:33], TARGET[:33], STEP[:33], EPOCH[:33])
    right.update(STUDENT[33:], TEACHER[33:], TARGET[33:], STEP[33:], EPOCH[33:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), filled().table())
