"""Neighbours, silhouette and Fisher's ratio are scikit-learn's, in blocks as in one piece."""

import numpy as np
import pytest
import torch
from scipy.stats import mode
from sklearn.metrics import calinski_harabasz_score, silhouette_samples
from sklearn.neighbors import NearestNeighbors

from kdanalysis.core import separation as module
from kdanalysis.core.separation import fisher_ratio, in_proportion, separation, voted

CLASSES = 5


@pytest.fixture
def rows():
    """90 rows of 5 classes that overlap, one class with a single row; far from the origin."""
    rng = np.random.default_rng(0)
    target = np.append(rng.integers(0, CLASSES - 1, 89), CLASSES - 1)
    centres = 1.5 * rng.normal(size=(CLASSES, 7))
    return 300 + centres[target] + rng.normal(size=(90, 7)), target


@pytest.mark.parametrize("block", [2**21, 7 * 90])
def test_silhouette_and_neighbours_are_those_of_scikit_learn(rows, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    features, target = map(torch.from_numpy, rows)

    found = separation(features, target, 4)

    np.testing.assert_allclose(found.silhouette, silhouette_samples(*rows), rtol=1e-9, atol=1e-12)
    assert found.silhouette[-1] == 0  # alone in its class
    near = NearestNeighbors(n_neighbors=4).fit(rows[0]).kneighbors(return_distance=False)
    assert found.neighbours.tolist() == near.tolist()
    votes = mode(rows[1][near], axis=1).mode
    assert voted(found.neighbours, target).tolist() == votes.tolist()
    assert 0.3 < (votes == rows[1]).mean() < 0.95


def test_fishers_ratio_is_calinskis_without_its_degrees_of_freedom(rows):
    features, target = rows
    score = calinski_harabasz_score(features, target)
    expected = score * (CLASSES - 1) / (len(target) - CLASSES)
    assert fisher_ratio(*map(torch.from_numpy, rows)) == pytest.approx(expected, rel=1e-10)


def test_float16_features_are_looked_at_in_float64(rows):
    features, target = torch.from_numpy(rows[0]).half(), torch.from_numpy(rows[1])
    found, wide = (separation(x, target, 3) for x in (features, features.double()))
    assert found.silhouette.dtype == torch.float64
    assert torch.equal(found.silhouette, wide.silhouette)
    assert fisher_ratio(features, target) == fisher_ratio(features.double(), target)


def test_equal_votes_go_to_the_smallest_class():
    target = torch.tensor([7, 3, 3, 9, 7])
    neighbours = torch.tensor([[1, 0], [3, 1], [3, 0]])
    assert voted(neighbours, target).tolist() == [3, 3, 7]


@pytest.mark.parametrize(
    ("target", "k", "message"),
    [
        ([2, 2, 2, 2], 1, "4 rows of 1 class: need two to tell apart"),
        ([0, 0, 1, 1], 4, "4 rows have no 4 nearest others: need 0 < k < rows"),
        ([0, 0, 1, 1], 0, "4 rows have no 0 nearest others"),
    ],
)
def test_what_has_no_neighbourhood_is_refused(target, k, message):
    with pytest.raises(ValueError, match=message):
        separation(torch.randn(4, 3), torch.tensor(target), k)


def test_every_class_keeps_its_share_of_the_rows():
    target = torch.tensor([0] * 700 + [1] * 200 + [2] * 99 + [3])[torch.randperm(1000)]
    chosen = in_proportion(target, 101, seed=0)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    found = target[chosen].bincount(minlength=4) - torch.tensor([70.7, 20.2, 10.0, 0.1])
    assert found.abs().max() <= 1
    assert len(chosen) == 101
    assert torch.equal(chosen, in_proportion(target, 101, seed=0))
    assert not torch.equal(chosen, in_proportion(target, 101, seed=1))
    assert in_proportion(target, 1000, seed=0).tolist() == list(range(1000))
