"""Blockwise: a plain loop, gradients by autograd, every side's own column, and what it refuses."""

import numpy as np
import pytest
import torch
from problems import batch
from scipy.special import log_softmax
from torch.autograd import gradcheck

from kdanalysis import (
    DKD,
    GDKD,
    KD,
    SDD,
    Blockwise,
    Confident,
    CrossEntropy,
    LogitStandardized,
    Sum,
)
from kdanalysis.losses import restore_loss
from kdanalysis.losses.blocks import choose_stones

LOSSES = [
    Blockwise(),
    Blockwise(DKD(temperature=2.0), task=0.3, distill=2.0, cross=5.0, cross_temperature=1.0),
    Blockwise(GDKD(k=3), blocks=4, light=True),
    Blockwise(LogitStandardized(KD(2.0)), blocks=3, stones=(1, 3), decay=0.7),
    Blockwise(Sum(KD(1.0), DKD()), blocks=1),
]


def stacked(loss: Blockwise, seed: int, n: int = 5, c: int = 7) -> tuple[torch.Tensor, ...]:
    """Float64 logits (n, c, sides) of the student and its stones, the teacher's (n, c), targets."""
    many, _, _ = batch(seed, n=n * loss.stacked, c=c)
    _, teacher, target = batch(seed + 50, n=n, c=c)
    return many.unflatten(0, (n, loss.stacked)).mT.contiguous(), teacher, target


def autograd(loss, student, teacher, target, ramp):
    student = student.clone().requires_grad_()
    values = loss(student, teacher, target, ramp)
    return {
        name: torch.autograd.grad(value.sum(), student, retain_graph=True)[0]
        for name, value in values.items()
    }


def test_terms_agree_with_a_plain_loop():
    loss = Blockwise(KD(2.0), 3, (2, 3), task=0.3, distill=2.0, cross=5.0, cross_temperature=3.0)
    student, teacher, target = stacked(loss, 0)
    found = loss(student, teacher, target, ramp=0.4)

    z, t, y = student.numpy(), teacher.numpy(), target.numpy()
    for column, (side, weight) in enumerate({"student": 1, "stone_2": 0.5, "stone_3": 1}.items()):
        for n in range(len(y)):
            own, mean = z[n, :, column], (z[n, :, 1] + z[n, :, 2]) / 2
            expected = {
                "task": -0.3 * weight * log_softmax(own)[y[n]],
                "distill": 2.0 * weight * 0.4 * 4 * divergence(t[n] / 2, own / 2),
                "cross": 5.0 * weight * 0.4 * 9 * divergence(mean / 3, own / 3),
            }
            for part, value in expected.items():
                assert float(found[f"{side}/{part}"][n]) == pytest.approx(value, rel=1e-12)


def divergence(teacher: np.ndarray, student: np.ndarray) -> float:
    log_p, log_q = log_softmax(teacher), log_softmax(student)
    return float((np.exp(log_p) * (log_p - log_q)).sum())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_closed_forms_equal_autograd(loss):
    for seed in range(3):
        problem = stacked(loss, seed)
        closed, expected = loss.gradients(*problem, 0.7), autograd(loss, *problem, 0.7)
        assert list(closed) == list(expected) == list(loss.terms)
        for name in closed:
            torch.testing.assert_close(closed[name], expected[name], rtol=1e-10, atol=1e-12)


def test_values_agree_with_finite_differences_where_the_mean_stands_still():
    loss = Blockwise(DKD(), blocks=2)
    student, teacher, target = stacked(loss, 1)

    def of_the_student(z):
        return tuple(loss(torch.cat((z, student[..., 1:]), -1), teacher, target).values())

    assert gradcheck(of_the_student, student[..., :1].clone().requires_grad_())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_side_reaches_its_own_column_alone(loss):
    for place, side in enumerate(loss.sides):
        for part in ("task", "distill", "cross"):
            slope = loss.gradients(*stacked(loss, 2))[f"{side}/{part}"]
            others = [column for column in range(loss.stacked) if column != place]
            assert not slope[..., others].any()
            alone = loss.stacked == 2 and place == 1 and part == "cross"  # it is the mean itself
            assert bool(slope[..., place].any()) != alone


def test_sides_weights_and_light():
    assert Blockwise(blocks=4).sides == {
        "student": 1.0,
        **{"stone_1": 0.125, "stone_2": 0.25, "stone_3": 0.5, "stone_4": 1.0},
    }
    assert list(Blockwise(blocks=3, light=True).sides) == ["student", "stone_2", "stone_3"]
    assert list(Blockwise(blocks=4, light=True).sides) == ["student", "stone_3", "stone_4"]
    assert list(Blockwise(blocks=1, light=True).sides) == ["student", "stone_1"]
    weights = Blockwise(blocks=2, task=3.0, distill=5.0, cross=7.0).term_weights
    assert weights["student/task"] == 3.0
    assert weights["stone_1/distill"] == 2.5
    assert weights["stone_2/cross"] == 7.0


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_repr_gives_the_loss_back(loss):
    assert repr(restore_loss(repr(loss))) == repr(loss)
    assert restore_loss(repr(loss)).term_weights == loss.term_weights


def test_no_gradient_reaches_the_teacher():
    student, teacher, target = stacked(LOSSES[0], 3)
    student.requires_grad_(), teacher.requires_grad_()
    sum(LOSSES[0](student, teacher, target).values()).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


PLAIN = torch.zeros(2, 5)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Blockwise(SDD(KD())), "the base of Blockwise is a loss on whole images, got SDD"),
        (lambda: Blockwise(Blockwise()), "is no part of another loss: give it the other loss as"),
        (lambda: Sum(CrossEntropy(), Blockwise()), "is no part of another loss"),
        (lambda: SDD(Blockwise()), "is no part of another loss"),
        (lambda: Confident(Blockwise()), "is no part of another loss"),
        (lambda: LogitStandardized(Blockwise()), "is no part of another loss"),
        (lambda: Blockwise(blocks=0), "blocks must be a whole number from 1, got 0"),
        (lambda: Blockwise(stones=(2, 1)), r"stones must rise within 1 to 3, .*, got \(2, 1\)"),
        (lambda: Blockwise(stones=(4,)), r"stones must rise within 1 to 3"),
        (lambda: Blockwise(stones=()), r"stones must rise within 1 to 3"),
        (lambda: choose_stones(3, ("layer1",)), r"stones are whole numbers such as \(1, 3\)"),
        (lambda: Blockwise(stones=(3,), light=True), r"light=True chooses the stones itself"),
        (lambda: Blockwise(task=float("nan")), "task must be a finite number"),
        (lambda: Blockwise(decay=float("inf")), "decay must be a finite number"),
        (lambda: Blockwise(cross_temperature=0), "temperature must lie between"),
        (
            lambda: Blockwise()(PLAIN, PLAIN, LABELS),
            r"need student logits \(n, c, 4\) of itself and its stones, teacher logits \(n, c\)",
        ),
        (
            lambda: Blockwise()(PLAIN[..., None].expand(2, 5, 3), PLAIN, LABELS),
            r"got student \(2, 5, 3\), teacher \(2, 5\), target \(2,\)",
        ),
        (
            lambda: Blockwise(blocks=1)(torch.full((2, 5, 2), torch.nan), PLAIN, LABELS),
            "student logits of sample 0 hold nan at class 0 of column 0",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
