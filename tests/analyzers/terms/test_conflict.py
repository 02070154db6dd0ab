"""Gradient conflict agrees with numpy on autograd's gradients, split by the teacher's success."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.conflict import GradientConflict
from kdanalysis.losses import GDKD, KD, CrossEntropy
from tests.analyzers.reference import autograd_gradients, logits, targets

STUDENT, TEACHER = logits(0), logits(1)
TARGET = torch.where(torch.arange(60) % 2 == 0, TEACHER.argmax(-1), targets(2))
STEP, EPOCH = torch.arange(60) // 30 * 10, torch.arange(60) // 30
LOSSES = {"ce": CrossEntropy(), "gdkd": GDKD(3, (1, 2, 8), 2.0), "kd": KD(2.0)}
TERMS = ("ce", "high", "low_top", "low_other", "kd")


def table(student=STUDENT, teacher=TEACHER, losses=LOSSES, split: int = 13) -> pd.DataFrame:
    metric = GradientConflict(losses, (0, 10))
    for rows in (slice(None, split), slice(split, None)):
        metric.update(student[rows], teacher[rows], TARGET[rows], STEP[rows], EPOCH[rows])
    return metric.table()


def cosines(a: np.ndarray, b: np.ndarray) -> list[float]:
    return [x @ y / np.sqrt(x @ x) / np.sqrt(y @ y) for x, y in zip(a, b, strict=True)]


def test_cosines_and_conflicts_agree_with_numpy():
    gradients = autograd_gradients(STUDENT, TEACHER, TARGET, 3, 2.0)
    right = (TEACHER.argmax(-1) == TARGET).numpy()
    split = {"right": right, "wrong": ~right, "all": np.ones(60, dtype=bool)}
    rows = table().set_index(["step", "teacher", "term_a", "term_b"])
    assert len(rows) == 2 * 3 * 10
    for step in (0, 10):
        for name, members in split.items():
            chosen = members & (STEP.numpy() == step)
            assert 0 < chosen.sum() < 60
            for a, b in combinations(TERMS, 2):
                row = rows.loc[(step, name, a, b)]
                values = cosines(gradients[a][chosen], gradients[b][chosen])
                assert row.cosine == pytest.approx(np.mean(values), abs=1e-12)
                if {a, b} != {"low_top", "low_other"}:  # exactly 0 but for the reference's rounding
                    assert row.conflict == pytest.approx(np.mean([v < 0 for v in values]))
                assert row.n == chosen.sum()


def test_terms_on_disjoint_classes_never_conflict():
    rows = table()
    rows = rows[(rows.term_a == "low_top") & (rows.term_b == "low_other")]
    assert rows.cosine.tolist() == [0] * 6
    assert rows.conflict.tolist() == [0] * 6


def test_a_zero_gradient_has_no_direction():
    teacher = TEACHER.clone()
    teacher[:10] = STUDENT[:10]  # only cross-entropy is left there
    rows = table(teacher=teacher).query("teacher == 'all' and step == 0")
    assert (rows.n == 20).all()
    assert rows.cosine.notna().all()


def test_epochs_follow_the_steps():
    assert table().groupby("step").epoch.first().to_dict() == {0: 0, 10: 1}


def test_terms_of_one_name_are_told_apart_by_their_loss():
    losses = {"soft": KD(4.0), "sharp": KD(1.0), "ce": CrossEntropy()}
    rows = table(losses=losses)
    assert set(rows.term_a) | set(rows.term_b) == {"soft:kd", "sharp:kd", "ce"}


def test_non_finite_rows_of_either_side_are_counted_and_left_out():
    student, teacher = STUDENT.clone(), TEACHER.clone()
    student[1, 0], teacher[40, 4] = torch.nan, torch.inf
    rows = table(student, teacher)
    assert (rows.non_finite == 2).all()
    assert rows.query("teacher == 'all'").n.tolist() == [29] * 20


def test_halves_merge_into_the_whole():
    left, right = (GradientConflict(LOSSES, (0, 10)) for _ in range(2))
    left.update(STUDENT[:33], TEACHER[:33], TARGET[:33], STEP[:33], EPOCH[:33])
    right.update(STUDENT[33:], TEACHER[33:], TARGET[33:], STEP[33:], EPOCH[33:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), table())


def test_one_term_has_nothing_to_conflict_with():
    with pytest.raises(ValueError, match="need at least two terms to compare"):
        GradientConflict({"kd": KD()})


def test_student_and_teacher_must_agree_in_shape():
    with pytest.raises(ValueError, match="the analyzer expects 2 steps"):
        GradientConflict(LOSSES, (0, 1)).update(STUDENT, TEACHER, TARGET)
