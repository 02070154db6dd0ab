"""The closed-form gradient of every term of every loss is the one autograd computes."""

import pytest
import torch
from problems import LOSSES, batch
from torch.autograd import gradcheck

from kdanalysis import DKD, KD, CrossEntropy, Sum


def autograd(loss, student, teacher, target, ramp=1.0):
    """One backward pass a term, on its sum over samples."""
    student = student.clone().requires_grad_()
    values = loss(student, teacher, target, ramp)
    return {
        name: torch.autograd.grad(value.sum(), student, retain_graph=True)[0]
        for name, value in values.items()
    }


@pytest.mark.parametrize("scale", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_closed_forms_equal_autograd(loss, scale):
    for seed in range(5):
        problem = batch(seed, scale)
        closed = loss.gradients(*problem, ramp=0.7)
        expected = autograd(loss, *problem, ramp=0.7)
        assert list(closed) == list(expected) == list(loss.terms)
        for name in closed:
            torch.testing.assert_close(closed[name], expected[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_values_agree_with_finite_differences(loss):
    student, teacher, target = batch(1, scale=1.0)
    student.requires_grad_()
    assert gradcheck(lambda s: tuple(loss(s, teacher, target).values()), student)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_no_gradient_reaches_the_teacher(loss):
    student, teacher, target = batch(2)
    student.requires_grad_(), teacher.requires_grad_()
    sum(loss(student, teacher, target).values()).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None  # the control: a gradient did flow


def test_the_ramp_scales_distillation_and_leaves_cross_entropy():
    problem = batch(3)
    loss = Sum(CrossEntropy(), DKD())
    half, whole = loss(*problem, ramp=0.5), loss(*problem)
    torch.testing.assert_close(half["ce"], whole["ce"])
    torch.testing.assert_close(half["nckd"], 0.5 * whole["nckd"])


def test_a_sum_adds_terms_of_equal_name():
    problem = batch(4)
    both = Sum(KD(1.0), KD(4.0))
    expected = KD(1.0)(*problem)["kd"] + KD(4.0)(*problem)["kd"]
    torch.testing.assert_close(both(*problem)["kd"], expected)
    assert both.terms == ("kd",)
