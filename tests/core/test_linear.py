"""The outer-product form of a linear head agrees with one backward pass a term and sample."""

import pytest
import torch
from torch import nn

import kdanalysis as kd
from kdanalysis.core.gradients import (
    linear_covariance,
    linear_gram,
    linear_mean_gram,
    term_gradients,
)
from tests.core.sweep.reference import backward_gradients, covariance
from tests.problems import batch

LOSS = kd.Sum(kd.CrossEntropy(), kd.DKD(temperature=2.0))
PARTS = [("weight", "bias"), ("weight",), ("bias",)]


@pytest.fixture
def head():
    torch.manual_seed(0)
    return nn.Linear(4, 7).double(), torch.randn(5, 4, dtype=torch.float64)


@pytest.mark.parametrize("parts", PARTS)
def test_closed_forms_agree_with_backward_passes(head, parts):
    linear, features = head
    _, teacher, target = batch(1)
    means, samples = backward_gradients(
        lambda: LOSS(linear(features), teacher, target), [getattr(linear, name) for name in parts]
    )
    given = features, term_gradients(LOSS, linear(features).detach(), teacher, target)
    which = {} if len(parts) == 2 else {name: name in parts for name in ("weight", "bias")}

    mean = linear_mean_gram(*given, **which)
    torch.testing.assert_close(mean, means @ means.T)
    single = linear_gram(*given, **which)
    torch.testing.assert_close(single, torch.einsum("tnp,snp->nts", samples, samples))
    torch.testing.assert_close(linear_covariance(*given, **which), covariance(samples))


def test_float32_is_summed_in_float64(head):
    _, features = head
    gradients = torch.randn(3, 5, 7)
    for form in (linear_gram, linear_mean_gram, linear_covariance):
        exact = form(features.float().double(), gradients.double())
        assert torch.equal(form(features.float(), gradients), exact)


def test_a_covariance_needs_two_samples(head):
    _, features = head
    assert linear_covariance(features[:2], torch.randn(3, 2, 7)).isfinite().all()
    assert linear_covariance(features[:1], torch.randn(3, 1, 7)).isnan().all()
