"""Class profiles are pandas' group means of the softened probabilities."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.teacher.profile import ClassProfile
from tests.analyzers.reference import logits, probabilities, targets


def table(teacher, target, split: int = 20) -> pd.DataFrame:
    metric = ClassProfile(teacher.shape[-1], 2)
    metric.update(teacher[:split], target[:split])
    metric.update(teacher[split:], target[split:])
    return metric.table()


def test_profiles_and_ranks_agree_with_pandas():
    teacher, target = logits(0), targets(1)
    expected = pd.DataFrame(probabilities(teacher, 2)).groupby(target.numpy()).mean()
    rows = table(teacher, target)
    square = rows.pivot(index="target", columns="class", values="probability")
    np.testing.assert_allclose(square, expected, rtol=1e-12)
    ranks = rows.pivot(index="target", columns="class", values="rank")
    np.testing.assert_array_equal(ranks, expected.rank(axis=1, ascending=False))
    assert rows.groupby("target").n.first().tolist() == np.bincount(target).tolist()


def test_a_class_without_samples_has_no_profile():
    rows = table(logits(0), torch.zeros(60, dtype=torch.long))
    empty = rows[rows.target > 0]
    assert empty[["probability", "rank"]].isna().all(axis=None)
    assert (empty.n == 0).all()
    assert rows[rows.target == 0].probability.sum() == pytest.approx(1)


def test_non_finite_rows_are_counted_and_left_out():
    teacher, target = logits(0), targets(1)
    spoiled = teacher.clone()
    spoiled[5, 3] = torch.inf
    kept = torch.arange(60) != 5
    rows = table(spoiled, target)
    assert (rows.non_finite == 1).all()
    pd.testing.assert_frame_equal(
        rows.drop(columns="non_finite"),
        table(teacher[kept], target[kept]).drop(columns="non_finite"),
    )


def test_halves_merge_into_the_whole():
    teacher, target = logits(0), targets(1)
    left, right = ClassProfile(12, 2), ClassProfile(12, 2)
    left.update(teacher[:7], target[:7])
    right.update(teacher[7:], target[7:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), table(teacher, target))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
        ClassProfile(3, 0)
    with pytest.raises(ValueError, match="target of sample 0 is -1"):
        ClassProfile(3).update(torch.zeros(1, 3), torch.tensor([-1]))
