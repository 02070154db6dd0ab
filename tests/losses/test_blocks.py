"""Blockwise: a plain loop, gradients by autograd, every side's own column, and what it refuses."""

import numpy as np
import pytest
import torch
from problems import ON_STONES, batch
from scipy.special import log_softmax

from kdanalysis import (
    KD,
    SDD,
    Blockwise,
    Confident,
    CrossEntropy,
    LogitStandardized,
    Sum,
)


def stacked(loss: Blockwise, seed: int, n: int = 5, c: int = 7) -> tuple[torch.Tensor, ...]:
    """Float64 logits (n, c, sides) of the student and its stones, the teacher's (n, c), targets."""
    many, _, _ = batch(seed, n=n * loss.stacked, c=c)
    _, teacher, target = batch(seed + 50, n=n, c=c)
    return many.unflatten(0, (n, loss.stacked)).mT.contiguous(), teacher, target


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


@pytest.mark.parametrize("loss", ON_STONES, ids=repr)
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
        (lambda: Blockwise(stones=("layer1",)), r"stones\[0\] must be a whole number"),
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
