"""Sampled tokens: unbiased draws from the teacher; estimators whose gradients are other losses."""

import numpy as np
import pytest
import torch
from problems import batch

from kdanalysis import JSD, KD, RandomSampling, Sampled, SparseTeacher
from kdanalysis.core.draws import draw

STUDENT, TEACHER, TARGET = batch(0, c=9)
T = 2.0


def expected_gradient(estimator: str) -> torch.Tensor:
    """Mean over all tokens y, each with the student's probability at T, by a loop."""
    q, loss = (STUDENT / T).softmax(-1), Sampled(estimator, T)
    found = torch.zeros_like(STUDENT)
    for y in range(9):
        one = loss.gradients(STUDENT, TEACHER, torch.full((5,), y))["sample"]
        found += q[:, y : y + 1] * one
    return found


def total(loss) -> torch.Tensor:
    return sum(loss.gradients(STUDENT, TEACHER, TARGET).values())


@pytest.mark.parametrize(
    ("estimator", "loss"),
    [("k2", JSD(1, temperature=T)), ("k3", KD(T)), ("pg", JSD(1, temperature=T))],
    ids=["k2 is reverse KL", "k3 is forward KL", "pg is reverse KL"],
)
def test_the_gradient_in_expectation_is_that_of(estimator, loss):
    torch.testing.assert_close(expected_gradient(estimator), total(loss))


def test_k1_as_a_loss_teaches_nothing_in_expectation():
    assert expected_gradient("k1").abs().max() < 1e-14
    assert total(Sampled("k1", T)).abs().max() > 0.1  # the control: a sample's own is not zero


@pytest.mark.parametrize("estimator", ["k1", "k3", "pg"])
def test_the_value_in_expectation_is_reverse_kl(estimator):
    q, loss = (STUDENT / T).softmax(-1), Sampled(estimator, T)
    each = [loss(STUDENT, TEACHER, torch.full((5,), y))["sample"] for y in range(9)]
    reverse = JSD(1, temperature=T)(STUDENT, TEACHER, TARGET)["jsd"]
    torch.testing.assert_close((q * torch.stack(each, -1)).sum(-1), reverse)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "pg"])
def test_the_closed_form_is_autograds(estimator):
    student = STUDENT.clone().requires_grad_()
    loss = Sampled(estimator, T, weight=0.3)
    (slope,) = torch.autograd.grad(loss(student, TEACHER, TARGET)["sample"].sum(), student)
    torch.testing.assert_close(
        loss.gradients(STUDENT, TEACHER, TARGET)["sample"], slope, rtol=1e-12, atol=1e-13
    )


def test_the_policy_gradient_is_weighed_by_the_logarithm_of_the_ratio():
    loss, one = Sampled("pg", T), Sampled("k1", T)
    ratio = one(STUDENT, TEACHER, TARGET)["sample"] / T**2
    expected = ratio.unsqueeze(-1) * one.gradients(STUDENT, TEACHER, TARGET)["sample"]
    torch.testing.assert_close(loss.gradients(STUDENT, TEACHER, TARGET)["sample"], expected)


def test_k3_that_overflows_is_refused():
    student = STUDENT.clone()
    student[2, TARGET[2]] -= 800
    for call in (Sampled("k3"), Sampled("k3").gradients):
        with pytest.raises(ValueError, match="k3 of row 2 overflows: the teacher finds its token"):
            call(student, TEACHER, TARGET)


def drawn(seeds: int, n: int) -> torch.Tensor:
    """Gradients of as many seeds, (seeds, 5, 9)."""
    return torch.stack([total(RandomSampling(n, seed, T)) for seed in range(seeds)])


def test_random_sampling_is_unbiased_with_the_noise_of_its_formula():
    gradients, n = drawn(1500, 8), 8
    error = gradients - total(KD(T))
    noise = T**2 * (1 - (TEACHER / T).softmax(-1).square().sum(-1)) / n
    spread = error.square().sum(-1)
    five = 5 * spread.std(0) / 1500**0.5
    assert (spread.mean(0) - noise).abs().le(five).all()
    assert (error.mean(0).norm(dim=-1) < 5 * (noise / 1500) ** 0.5).all()


def test_its_value_in_expectation_is_kl():
    values = torch.stack(
        [RandomSampling(8, s, T)(STUDENT, TEACHER, TARGET)["rs"] for s in range(1500)]
    )
    error = (values.mean(0) - KD(T)(STUDENT, TEACHER, TARGET)["kd"]).abs()
    assert (error < 5 * values.std(0) / 1500**0.5).all()


def test_draws_have_the_teachers_probabilities():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05, 0.0]]).double())
    shares = torch.bincount(draw(logits.clamp(min=-50), 20_000, 0)[0], minlength=5) / 20_000
    expected = logits[0].exp()
    assert ((shares - expected).abs() <= 5 * (expected * (1 - expected) / 20_000) ** 0.5).all()


def test_a_row_draws_the_same_wherever_it_stands_and_others_draw_apart():
    whole = draw(TEACHER, 50, 3)
    assert draw(TEACHER[2:3] + 7.0, 50, 3).equal(whole[2:3])
    same = torch.zeros(400, 9).double()
    order = torch.rand(400, 9, generator=torch.Generator().manual_seed(0)).argsort(-1)
    close = same.scatter(-1, order, torch.linspace(0, 1e-9, 9).double().expand(400, 9))
    firsts = draw(close, 1, 0)[:, 0]  # rows of equal probabilities, told apart by their order
    assert torch.bincount(firsts, minlength=9).min() > 20
    assert not draw(TEACHER, 50, 4).equal(whole)


def test_draws_neither_use_nor_change_the_state_of_torch():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    RandomSampling()(STUDENT, TEACHER, TARGET)
    assert torch.get_rng_state().equal(before)


def test_a_cache_of_draws_is_used_as_it_is():
    ids = torch.tensor([[3, 1, -1], [0, 2, 8]])
    counts = torch.tensor([[4, 1, 9], [1, 1, 3]])
    logprobs = TEACHER[:2].log_softmax(-1).gather(-1, ids.clamp(min=0))
    cache = SparseTeacher(ids, logprobs, vocabulary=9, kind="sampled", counts=counts)
    share = np.zeros((2, 9))
    share[0, [3, 1]], share[1, [0, 2, 8]] = (0.8, 0.2), (0.2, 0.2, 0.6)
    loss, given = RandomSampling(), (STUDENT[:2], cache, TARGET[:2])
    q, p = (x[:2].softmax(-1).numpy() for x in (STUDENT, TEACHER))
    np.testing.assert_allclose(loss.gradients(*given)["rs"], q - share, atol=1e-14)
    np.testing.assert_allclose(loss(*given)["rs"], (share * np.log(p / q)).sum(-1), atol=1e-14)
