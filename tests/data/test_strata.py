"""Splits and subsets are disjoint, proportional to the classes and fixed by the seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdanalysis.data.strata import choose, split, stratified_order, subset

LABELS = np.array([0] * 50 + [1] * 30 + [2] * 20)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.integers(0, 50))
def test_every_prefix_holds_each_class_in_proportion(labels, seed):
    labels = np.array(labels)
    order = stratified_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    for length in range(1, len(labels) + 1):
        for label in set(labels.tolist()):
            share = np.mean(labels == label)
            assert abs(np.sum(labels[order[:length]] == label) - length * share) < 2.5


def test_a_split_is_stratified_disjoint_and_complete():
    train, valid = split(LABELS, seed=0)
    assert np.bincount(LABELS[valid]).tolist() == [10, 6, 4]
    assert sorted([*train, *valid]) == list(range(100))
    assert (np.diff(train) > 0).all()
    assert (np.diff(valid) > 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_only_sample_of_a_class_is_for_training(seed):
    labels = np.array([0] * 20 + [1])
    assert 20 in split(labels, seed)[0]


def test_the_seed_decides_the_split():
    assert np.array_equal(split(LABELS, 1)[1], split(LABELS, 1)[1])
    assert not np.array_equal(split(LABELS, 1)[1], split(LABELS, 2)[1])


def test_a_subset_is_sorted_and_proportional():
    kept = subset(LABELS, 20, seed=0)
    assert np.bincount(LABELS[kept]).tolist() == [10, 6, 4]
    assert (np.diff(kept) > 0).all()
    assert subset(LABELS, None, 0).tolist() == subset(LABELS, 1000, 0).tolist() == list(range(100))


def test_a_limit_caps_training_and_a_quarter_of_it_validation():
    train, valid = choose(LABELS, LABELS, seed=0, limit=40)
    assert (len(train), len(valid)) == (40, 10)
    train, valid = choose(LABELS, None, seed=0, limit=40)
    assert (len(train), len(valid)) == (40, 10)
    assert not set(train) & set(valid)
    assert [len(part) for part in choose(LABELS, LABELS[:7], 0, None)] == [100, 7]
    assert len(choose(LABELS, None, 0, 1)[1]) == 1


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="limit of training images must be at least 1, got 0"):
        choose(LABELS, None, 0, 0)


def test_one_image_cannot_be_split():
    with pytest.raises(ValueError, match="1 image cannot be split"):
        split(np.array([0]), 0)
