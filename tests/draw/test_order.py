"""Like things stand together: groups as scipy's average linkage finds them, joined at like ends."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from kdanalysis.draw.order import group_names, like_together


def likeness(size: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(size, 3))
    return -np.linalg.norm(points[:, None] - points[None], axis=-1)


@pytest.mark.parametrize("most", [1, 3, 7, 20])
def test_groups_are_those_of_average_linkage(most):
    like = likeness(20)
    found = like_together(like, most)
    tree = linkage(squareform(-like, checks=False), "average")
    labels = fcluster(tree, most, "maxclust")
    expected = {frozenset(np.flatnonzero(labels == one).tolist()) for one in set(labels)}
    assert {frozenset(group) for group in found} == expected
    assert sorted(member for group in found for member in group) == list(range(20))


def test_a_chain_is_laid_out_as_a_chain():
    place = np.array([3, 0, 4, 1, 2])  # where each of five things stands
    like = -(np.abs(place[:, None] - place[None]).astype(float) ** 0.5)
    order = [place[member] for (member,) in like_together(like, 5)]
    assert order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])


def test_both_directions_count_and_what_is_unknown_is_least():
    like = np.full((3, 3), 0.1)
    like[0, 2] = 0.9  # seen from one side alone
    like[1] = np.nan
    assert [set(group) for group in like_together(like, 2)] in ([{0, 2}, {1}], [{1}, {0, 2}])


def test_a_group_is_named_by_its_centre():
    place = np.array([0.0, 1.0, 1.9, 9.0])
    like = -np.abs(place[:, None] - place[None])
    assert group_names([[0, 1, 2], [3]], like, list("abcd")) == ["b + 2", "d"]
