"""Gradient magnitude by step: means and quartiles of autograd's norms."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.losses import DKD, GDKD, KD
from tests.analyzers.reference import autograd_gradients, logits, targets

STUDENT, TEACHER, TARGET = logits(0), logits(1), targets(2)
STEP = torch.arange(60) // 20 * 50
EPOCH = torch.arange(60) // 40
LOSSES = {"kd": KD(2.0), "gdkd": GDKD(3, (1, 2, 8), 2.0), "dkd": DKD(1, 6, 2.0)}
WEIGHTS = {"kd": 1, "high": 1, "low_top": 2, "low_other": 8, "tckd": 1, "nckd": 6}


def table(student=STUDENT, teacher=TEACHER, split: int = 33) -> pd.DataFrame:
    metric = TermMagnitude(LOSSES, (0, 50, 100))
    for rows in (slice(None, split), slice(split, None)):
        metric.update(student[rows], teacher[rows], TARGET[rows], STEP[rows], EPOCH[rows])
    return metric.table()


def test_means_and_quartiles_agree_with_autograd_and_numpy():
    gradients = autograd_gradients(STUDENT, TEACHER, TARGET, 3, 2.0)
    rows = table()
    assert len(rows) == 3 * 6
    for row in rows.itertuples():
        norms = np.linalg.norm(gradients[row.term], axis=1) * WEIGHTS[row.term]
        norms = norms[STEP.numpy() == row.step]
        assert row.mean == pytest.approx(norms.mean())
        for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
            exact = np.quantile(norms, q, method="inverted_cdf")
            assert getattr(row, name) == pytest.approx(exact, rel=0.037)
        assert row.n == 20


def test_every_step_has_its_epoch():
    epochs = table().groupby("step").epoch.first()
    assert epochs.to_dict() == {0: 0, 50: 0, 100: 1}
    assert table().epoch.dtype == "int64"


def test_rows_name_loss_and_term():
    first = table().query("step == 0")
    assert list(zip(first.loss, first.term, strict=True)) == [
        ("kd", "kd"),
        ("gdkd", "high"),
        ("gdkd", "low_top"),
        ("gdkd", "low_other"),
        ("dkd", "tckd"),
        ("dkd", "nckd"),
    ]


def test_a_zero_gradient_reads_zero():
    metric = TermMagnitude({"kd": KD()})
    metric.update(STUDENT, STUDENT, TARGET)
    row = metric.table().iloc[0]
    assert row[["mean", "q25", "median", "q75"]].tolist() == [0, 0, 0, 0]
    assert pd.isna(row.epoch)


def test_non_finite_rows_of_either_side_are_counted_and_left_out():
    student, teacher = STUDENT.clone(), TEACHER.clone()
    student[1, 0], teacher[30, 4] = torch.nan, torch.inf
    rows = table(student, teacher)
    assert (rows.non_finite == 2).all()
    assert rows.groupby("step").n.first().tolist() == [19, 19, 20]


def test_a_batch_without_finite_rows_gives_nan():
    metric = TermMagnitude(LOSSES)
    metric.update(torch.full_like(STUDENT, torch.nan), TEACHER, TARGET)
    rows = metric.table()
    assert rows["mean"].isna().all()
    assert (rows.n == 0).all()
    assert (rows.non_finite == 60).all()


def test_halves_merge_into_the_whole():
    left, right = (TermMagnitude(LOSSES, (0, 50, 100)) for _ in range(2))
    left.update(STUDENT[:33], TEACHER[:33], TARGET[:33], STEP[:33], EPOCH[:33])
    right.update(STUDENT[33:], TEACHER[33:], TARGET[33:], STEP[33:], EPOCH[33:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), table())


def test_analyzers_of_other_weights_do_not_merge():
    left, right = TermMagnitude({"kd": KD(2.0)}), TermMagnitude({"kd": KD(4.0)})
    with pytest.raises(ValueError, match="must be the same on both sides"):
        left.merge_state(right)


@pytest.mark.parametrize(
    ("losses", "steps", "message"),
    [
        ({}, (0,), "need at least one loss, got none"),
        (LOSSES, (), "need at least one captured step"),
        (LOSSES, (1, 1), "one is given twice"),
    ],
)
def test_an_analyzer_that_cannot_be_is_refused(losses, steps, message):
    with pytest.raises(ValueError, match=message):
        TermMagnitude(losses, steps)


def test_steps_that_were_not_announced_are_refused():
    metric = TermMagnitude(LOSSES, (0, 50))
    with pytest.raises(ValueError, match="step 100 is not among the 2 steps"):
        metric.update(STUDENT, TEACHER, TARGET, STEP)
    with pytest.raises(ValueError, match="step 25 is not among the 2 steps"):
        metric.update(STUDENT, TEACHER, TARGET, torch.full_like(STEP, 25))
    with pytest.raises(ValueError, match="expects 2 steps, need the step of a sample"):
        metric.update(STUDENT, TEACHER, TARGET)
