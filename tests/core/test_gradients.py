"""Stacked gradients, their inner products and the residual, against plain numpy."""

import numpy as np
import pytest
import torch
from problems import batch

from kdanalysis import GDKD, CrossEntropy, Sum
from kdanalysis.core.gradients import gram, residual, term_gradients

LOSS = Sum(CrossEntropy(), GDKD(k=3))


def test_gradients_are_stacked_in_the_order_of_the_terms():
    problem = batch(0)
    stacked = term_gradients(LOSS, *problem, ramp=0.5)
    for row, name in zip(stacked, LOSS.terms, strict=True):
        assert (row == LOSS.gradients(*problem, ramp=0.5)[name]).all()


def test_gram_equals_a_numpy_loop():
    stacked = term_gradients(LOSS, *batch(1))
    entries = gram(stacked)
    g = stacked.numpy()
    for n in range(5):
        expected = [[np.dot(g[t, n], g[s, n]) for s in range(4)] for t in range(4)]
        np.testing.assert_allclose(entries[n].numpy(), expected, rtol=1e-12, atol=1e-15)


def test_residual_is_the_relative_distance():
    closed = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [3.0, 4.0]])
    sent = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0], [-3.0, -4.0]])
    assert residual(closed, sent).tolist() == pytest.approx([0.0, 0.5, 0.0, 2.0])
    assert residual(closed, sent * float("nan")).isnan().all()
