"""Partitions: the right classes in the right groups, no group empty, one sentence where one is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import batch
from scipy.special import softmax

from kdanalysis.core.partition import AutoK, Groups, Target, Top1, Top1TopK, TopK

TEACHER = torch.tensor([[0.0, 3.0, 1.0, 2.0], [9.0, -1.0, 5.0, 5.5]])
TARGET = torch.tensor([2, 0])


@pytest.mark.parametrize(
    ("rule", "groups"),
    [
        (Target(), [[1, 1, 0, 1], [0, 1, 1, 1]]),
        (Top1(), [[1, 0, 1, 1], [0, 1, 1, 1]]),
        (TopK(2), [[1, 0, 1, 0], [0, 1, 1, 0]]),
        (TopK(2, "worst"), [[0, 1, 0, 1], [1, 0, 0, 1]]),
        (Top1TopK(3), [[2, 0, 1, 1], [0, 2, 1, 1]]),
        (Groups((0, 1, 1, 2)), [[0, 1, 1, 2], [0, 1, 1, 2]]),
    ],
    ids=repr,
)
def test_rules_group_the_classes(rule, groups):
    assert rule(TEACHER, TARGET).tolist() == groups


def auto_k_reference(teacher: np.ndarray, ratio: float, max_k: int, temperature: float) -> int:
    """Walk up the sorted probabilities, as the rule is written."""
    probabilities = np.sort(softmax(teacher / temperature))
    for i, p in enumerate(probabilities):
        if p >= ratio * probabilities[: i + 1].mean() and p > 0:
            return min(len(probabilities) - i, max_k)
    return 1


@given(st.integers(0, 9999), st.floats(1.01, 4), st.integers(1, 6), st.floats(0.5, 8))
def test_auto_k_equals_the_walk(seed, ratio, max_k, temperature):
    teacher = batch(seed)[1]
    rule = AutoK(ratio, max_k, temperature)
    expected = [auto_k_reference(row, ratio, max_k, temperature) for row in teacher.numpy()]
    assert rule.sizes(teacher).tolist() == expected
    groups = rule(teacher, torch.zeros(5, dtype=torch.long))
    assert (groups == 0).sum(-1).tolist() == expected
    top = teacher.where(groups == 0, float("inf")).min(-1).values
    assert (top > teacher.where(groups == 1, float("-inf")).max(-1).values).all()


def test_auto_k_counts_no_class_of_zero_probability():
    teacher = torch.tensor([[0.0, -1e5, -1e5, -1.0, -1e5]])
    assert AutoK(temperature=1.0).sizes(teacher).tolist() == [2]


def test_auto_k_ratio_is_reached_when_equal():
    teacher = torch.tensor([1.0, 1.0, 2.0, 4.0]).log().unsqueeze(0)  # 2 / mean(1, 1, 2) = 1.5
    assert AutoK(ratio=1.5, temperature=1.0).sizes(teacher).tolist() == [2]


def test_auto_k_of_a_flat_teacher_is_one_and_of_two_peaks_is_two():
    flat, peaks = torch.zeros(6), torch.tensor([8.0, 0.0, 0.1, 7.5, 0.2, 0.0])
    assert AutoK().sizes(torch.stack((flat, peaks))).tolist() == [1, 2]


@pytest.mark.parametrize("strategy", ["best", "worst"])
def test_a_partition_with_an_empty_group_is_refused(strategy):
    with pytest.raises(ValueError, match=r"TopK\(k=4.*leaves a group empty: need 0 < k < 4"):
        TopK(4, strategy)(TEACHER, TARGET)
    with pytest.raises(ValueError, match=r"TopK\(k=0.*leaves a group empty: need k >= 1"):
        TopK(0, strategy)


def test_three_groups_need_a_middle():
    with pytest.raises(ValueError, match="need 1 < k < 4"):
        Top1TopK(4)(TEACHER, TARGET)
    with pytest.raises(ValueError, match="need k >= 2"):
        Top1TopK(1)


@pytest.mark.parametrize("rule", [Target(), Top1(), AutoK()], ids=repr)
def test_one_class_has_no_rest(rule):
    with pytest.raises(ValueError, match="leaves a group empty"):
        rule(TEACHER[:, :1], torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Groups((0, 2, 2, 0)), r"from 0 without gaps, got \[0, 2\]"),
        (lambda: Groups((0, 1))(TEACHER, TARGET), "names 2 classes, the logits have 4"),
        (lambda: AutoK(ratio=1.0), "ratio must be above 1, got 1.0"),
        (lambda: AutoK(max_k=0), "max_k must be at least 1, got 0"),
        (lambda: AutoK(temperature=-1.0), "temperature must be above 0, got -1.0"),
        (lambda: TopK(2, "median"), "strategy is 'best' or 'worst', got 'median'"),
        (lambda: Target()(TEACHER, torch.tensor([0, 4])), "target of sample 1 is 4"),
    ],
)
def test_bad_rules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("k", "classes"), [(5, 100), (3, 3000)])
def test_logits_that_are_no_numbers_still_leave_k_classes_in_the_top_group(k, classes):
    teacher = torch.randn(4, classes)
    teacher[0], teacher[1, ::32] = torch.nan, torch.nan
    groups = TopK(k)(teacher, torch.zeros(4, dtype=torch.long))
    assert (groups == 0).sum(1).tolist() == [k] * 4
