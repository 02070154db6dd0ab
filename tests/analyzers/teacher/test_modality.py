"""Modality counts the k of the auto-k rule, sample by sample, under the true class."""

from collections import Counter

import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.core.partition import AutoK
from tests.analyzers.reference import auto_k, logits, probabilities, targets


def table(teacher, target, split: int = 20, rule: AutoK | None = None) -> pd.DataFrame:
    metric = Modality(teacher.shape[-1], rule)
    metric.update(teacher[:split], target[:split])
    metric.update(teacher[split:], target[split:])
    return metric.table()


def test_counts_agree_with_the_rule_applied_one_sample_at_a_time():
    teacher, target = logits(0, 200), targets(1, 200)
    p = probabilities(teacher, 4)
    expected = Counter((int(y), auto_k(row)) for y, row in zip(target, p, strict=True))
    rows = table(teacher, target)
    assert dict(zip(zip(rows.target, rows.k, strict=True), rows["count"], strict=True)) == expected
    assert rows.k.nunique() > 2  # the control: the rule does choose different k
    sizes = Counter(target.tolist())
    assert rows.share.tolist() == pytest.approx(
        [c / sizes[y] for y, c in zip(rows.target, rows["count"], strict=True)]
    )


def test_mean_k_agrees_with_the_table():
    metric = Modality(12)
    metric.update(logits(0), targets(1))
    rows = metric.table()
    expected = (rows.k * rows.share).groupby(rows.target).sum()
    assert metric.compute()["mean"].tolist() == pytest.approx(expected.tolist())


def test_the_rule_is_the_callers():
    rows = table(logits(0), targets(1), rule=AutoK(max_k=1, temperature=1.0))
    assert set(rows.k) == {1}
    assert set(rows.temperature) == {1.0}


def test_non_finite_rows_are_counted_and_left_out():
    teacher, target = logits(0), targets(1)
    spoiled = teacher.clone()
    spoiled[:2] = torch.nan
    rows = table(spoiled, target)
    assert (rows.non_finite == 2).all()
    assert rows["count"].sum() == 58


def test_halves_merge_into_the_whole():
    teacher, target = logits(0), targets(1)
    left, right = Modality(12), Modality(12)
    left.update(teacher[:7], target[:7])
    right.update(teacher[7:], target[7:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), table(teacher, target))
