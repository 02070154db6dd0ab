"""Gram matrices and the residual against plain numpy; those of a linear head against autograd."""

import numpy as np
import pytest
import torch
from problems import batch
from torch import nn

from kdanalysis import DKD, GDKD, CrossEntropy, Sum
from kdanalysis.core.gram import (
    gram,
    grams_by_layer,
    linear_covariance,
    linear_mean,
    linear_sample_grams,
    residual,
    sample_grams,
    term_gradients,
)
from tests.core.reference import backward_gradients, covariance

LOSS = Sum(CrossEntropy(), GDKD(k=3))
OF_HEAD = Sum(CrossEntropy(), DKD(temperature=2.0))
PARTS = [("weight", "bias"), ("weight",), ("bias",)]


def test_gradients_are_stacked_in_the_order_of_the_terms():
    problem = batch(0)
    stacked = term_gradients(LOSS, *problem, ramp=0.5)
    for row, name in zip(stacked, LOSS.terms, strict=True):
        assert (row == LOSS.gradients(*problem, ramp=0.5)[name]).all()


def test_grams_of_samples_equal_a_numpy_loop():
    stacked = term_gradients(LOSS, *batch(1))
    entries = sample_grams(stacked)
    g = stacked.numpy()
    for n in range(5):
        expected = [[np.dot(g[t, n], g[s, n]) for s in range(4)] for t in range(4)]
        np.testing.assert_allclose(entries[n].numpy(), expected, rtol=1e-12, atol=1e-15)


def test_residual_is_the_relative_distance():
    closed = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [3.0, 4.0]])
    sent = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0], [-3.0, -4.0]])
    assert residual(closed, sent).tolist() == pytest.approx([0.0, 0.5, 0.0, 2.0])
    assert residual(closed, sent * float("nan")).isnan().all()


@pytest.fixture
def head():
    torch.manual_seed(0)
    return nn.Linear(4, 7).double(), torch.randn(5, 4, dtype=torch.float64)


@pytest.mark.parametrize("parts", PARTS)
def test_closed_forms_agree_with_backward_passes(head, parts):
    linear, features = head
    _, teacher, target = batch(1)
    means, samples = backward_gradients(
        lambda: OF_HEAD(linear(features), teacher, target),
        [getattr(linear, name) for name in parts],
    )
    given = features, term_gradients(OF_HEAD, linear(features).detach(), teacher, target)
    which = {} if len(parts) == 2 else {name: name in parts for name in ("weight", "bias")}

    mean = linear_mean(*given, **which)
    torch.testing.assert_close(gram(mean), means @ means.T)
    single = linear_sample_grams(*given, **which)
    torch.testing.assert_close(single, torch.einsum("tnp,snp->nts", samples, samples))
    torch.testing.assert_close(linear_covariance(*given, **which), covariance(samples))


def test_float32_is_summed_in_float64(head):
    _, features = head
    gradients = torch.randn(3, 5, 7)
    for form in (linear_sample_grams, linear_mean, linear_covariance):
        exact = form(features.float().double(), gradients.double())
        assert torch.equal(form(features.float(), gradients), exact)


def test_a_covariance_needs_two_samples(head):
    _, features = head
    assert linear_covariance(features[:2], torch.randn(3, 2, 7)).isfinite().all()
    assert linear_covariance(features[:1], torch.randn(3, 1, 7)).isnan().all()


def test_grams_by_layer_are_over_the_columns_of_each_and_summed_in_float64():
    rows = torch.randn(3, 70_000)
    found = grams_by_layer(rows, {"a": 40_000, "b": 30_000})
    exact = rows.double()
    torch.testing.assert_close(found["a"], exact[:, :40_000] @ exact[:, :40_000].T)
    torch.testing.assert_close(found["a"] + found["b"], exact @ exact.T)
