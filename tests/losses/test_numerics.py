"""Confident teachers, half precision, close students: finite, right, and never a silent zero."""

import numpy as np
import pytest
import torch
from problems import batch
from torch import nn

from kdanalysis import DKD, GDKD, KD, NKD, CrossEntropy, LogitStandardized
from kdanalysis.losses.base import checked


def confident(gap: float, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Teacher and student agree on nothing and their top logit stands ``gap`` above the rest."""
    student, teacher, target = batch(0, scale=1.0)
    teacher[torch.arange(5), target] += gap
    student[torch.arange(5), (target + 1) % 7] += gap
    return student.to(dtype), teacher.to(dtype), target


def test_masked_softmax_of_the_published_kind_fails_where_ours_does_not():
    """The control: log of a sum of softmax probabilities is infinite at these gaps."""
    student, _, target = confident(1e4, torch.float32)
    rest = student.softmax(-1).gather(-1, target.unsqueeze(-1))
    assert rest.log().isinf().any()


@pytest.mark.parametrize("distance", [1e-3, 1e-7, 1e-10])
def test_a_close_student_keeps_its_digits(distance):
    _, teacher, target = batch(1)
    direction = batch(2)[0]
    value = KD(1.0)(teacher + distance * direction, teacher, target)["kd"]
    p = teacher.softmax(-1)
    variance = (p * direction**2).sum(-1) - (p * direction).sum(-1) ** 2
    expected = distance**2 * variance / 2  # second order: half the Fisher information
    assert (value / expected - 1).abs().max() < 10 * distance + 1e-5 * (1e-10 / distance) + 1e-8


@pytest.mark.parametrize("loss", [DKD(temperature=1.0), GDKD(k=2, temperature=1.0)], ids=repr)
@pytest.mark.parametrize("gap", [8.0, 12.0, 17.0, 25.0])
def test_the_high_gradient_keeps_its_digits_where_both_sides_are_sure(loss, gap):
    student, teacher, target = batch(7, scale=1.0)
    for side, extra in ((student, gap), (teacher, gap + 3)):
        side[torch.arange(5), target] += extra
    exact = loss.gradients(student, teacher, target)[loss.terms[0]]
    single = loss.gradients(student.float(), teacher.float(), target)[loss.terms[0]]
    assert ((single - exact).norm(dim=-1) < 1e-5 * exact.norm(dim=-1)).all()


@pytest.mark.parametrize("loss", [DKD(), GDKD(k=1)], ids=repr)
def test_a_term_of_one_class_is_zero_and_legal(loss):
    student, teacher, target = batch(4, c=2)
    values = loss(student, teacher, target)
    term = loss.terms[-1]
    assert (values[term] == 0).all()
    assert (loss.gradients(student, teacher, target)[term] == 0).all()


def test_standardisation_of_equal_logits_is_refused():
    student, teacher, target = batch(5)
    teacher[1] = 2.0
    with pytest.raises(ValueError, match="teacher logits of sample 1 have no spread"):
        LogitStandardized(KD())(student, teacher, target)


@pytest.mark.parametrize("name", ["student", "teacher", "target"])
def test_arrays_of_another_library_are_refused(name):
    sides = dict(zip(("student", "teacher", "target"), batch(6), strict=True))
    sides[name] = sides[name].numpy()
    with pytest.raises(ValueError, match=f"{name} must be a torch tensor, got ndarray"):
        checked(**sides)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_targets_that_are_no_indices_are_refused(dtype):
    student, teacher, target = batch(6)
    with pytest.raises(ValueError, match=f"as integers, got {dtype}"):
        checked(student, teacher, target.to(dtype))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GDKD(weights=(1, float("nan"), 8)), "must be a finite number or text, got nan"),
        (lambda: DKD(alpha=float("inf")), "alpha must be a finite number, got inf"),
        (lambda: NKD(gamma=float("nan")), "gamma must be a finite number, got nan"),
        (lambda: CrossEntropy(weight=float("nan")), "weight must be a finite number"),
        (lambda: KD(9.9e-4), "temperature must lie between 0.001 and 10000, got 0.00099"),
        (lambda: KD(10_001), "temperature must lie between 0.001 and 10000, got 10001"),
        (
            lambda: KD(nn.Parameter(torch.tensor(4.0))),
            "temperature must be a finite number, got a torch Parameter .* would never learn",
        ),
        (
            lambda: GDKD(weights=(1, nn.Parameter(torch.tensor(1.0)), 8)),
            r"weights\[1\] must be .* got a torch Parameter .* that requires a gradient",
        ),
        (lambda: KD(float("nan")), "temperature must be a finite number, got nan"),
        (lambda: KD()(*batch(0), ramp=float("nan")), "ramp must be a finite number from 0"),
    ],
)
def test_numbers_that_no_loss_can_use_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("temperature", [1e-3, 1e4])
def test_at_the_ends_of_the_temperatures_kd_is_finite(temperature):
    student, teacher, _ = (x.double() if x.is_floating_point() else x for x in batch(6))
    (value,) = KD(temperature)(student, teacher).values()
    assert value.isfinite().all()
    assert (value > 0).all()


def test_integers_of_other_libraries_become_plain_ones():
    assert repr(GDKD(k=np.int64(3), weights=np.array([1, 2, 8]))) == repr(GDKD(3, (1, 2, 8)))


def test_the_finer_dtype_of_the_two_sides_counts():
    student, teacher, target = batch(6)
    assert KD()(student.float(), teacher, target)["kd"].dtype == torch.float64
    assert KD()(student, teacher.half(), target)["kd"].dtype == torch.float64


def test_auto_k_softens_as_the_loss_does():
    assert GDKD(k="auto", temperature=2.0).k.temperature == 2.0


def test_a_number_alone_is_refused_without_labels_too():
    number, loss = torch.tensor(1.0), KD()
    target = loss._given(number, None)  # where no annotation is checked
    with pytest.raises(ValueError, match=r"got student \(\), teacher \(\), target"):
        checked(number, number, target)


def test_shapes_are_checked():
    student, teacher, target = batch(6)
    with pytest.raises(ValueError, match=r"student \(5, 7\), teacher \(5, 6\), target \(5,\)"):
        checked(student, teacher[:, :6], target)
    of_texts = (side.unflatten(0, (1, 5)) for side in batch(6))
    with pytest.raises(ValueError, match=r"student logits have shape \(1, 5, 7\): .* kd.tokens\("):
        checked(*of_texts)


@pytest.mark.parametrize("loss", [CrossEntropy(), DKD(), NKD()], ids=repr)
def test_a_target_that_is_no_class_is_named_where_the_loss_uses_it(loss):
    student, teacher, target = batch(6)
    target[3] = 7
    for call in (loss, loss.gradients):
        with pytest.raises(ValueError, match="target of sample 3 is 7, need an index from 0 to 6"):
            call(student, teacher, target)
    GDKD(k=2)(student, teacher, target)  # the control: no label enters here
