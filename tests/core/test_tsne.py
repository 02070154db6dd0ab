"""t-SNE: scikit-learn's affinities, and a layout as good as its own."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.manifold._t_sne import _joint_probabilities

from kdanalysis.core.tsne import affinities, principal, tsne

PERPLEXITY = 12


@pytest.fixture(scope="module")
def digits():
    return torch.from_numpy(load_digits().data[:120])


def divergence(p: np.ndarray, places: np.ndarray) -> float:
    """KL(P || Q) with q_ij proportional to 1 / (1 + distance^2)."""
    q = 1 / (1 + squareform(pdist(places, "sqeuclidean")))
    np.fill_diagonal(q, 0)
    q, there = q / q.sum(), p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())


def test_affinities_are_those_of_scikit_learn(digits):
    squares = squareform(pdist(digits, "sqeuclidean")).astype(np.float32)
    expected = squareform(_joint_probabilities(squares, PERPLEXITY, 0))
    found = affinities(digits, PERPLEXITY).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * expected.max())
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_the_layout_is_as_good_as_scikit_learns(digits):
    p = affinities(digits, PERPLEXITY).numpy()
    theirs = TSNE(perplexity=PERPLEXITY, init="pca", random_state=0).fit_transform(digits)
    ours = [divergence(p, tsne(digits, PERPLEXITY, seed).numpy()) for seed in (0, 1)]
    assert max(ours) < 1.15 * divergence(p, theirs)
    assert divergence(p, principal(digits).numpy()) > 2 * max(ours)  # control: not for nothing


def test_the_same_seed_gives_the_same_places_and_another_one_others(digits):
    first, again, other = (tsne(digits[:40], 5, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.1


def test_principal_components_are_scikit_learns_but_for_their_sign(digits):
    expected = PCA(2).fit_transform(digits)
    found = principal(digits).numpy()
    np.testing.assert_allclose(abs(found), abs(expected), atol=1e-8)


@pytest.mark.parametrize("rows", [torch.ones(12, 3), torch.arange(12.0).expand(3, 12).T])
def test_equal_rows_and_rows_on_a_line_get_finite_places(rows):
    assert tsne(rows, 3).isfinite().all()
