"""What is claimed of every loss, each claim a function that takes one: see ``test_every.py``.

Every claim is put to losses on whole images, on regions and on a student with its stones.
"""

from collections.abc import Callable
from inspect import signature
from unittest.mock import patch

import pytest
import torch
from problems import batch
from torch import Tensor
from torch.autograd import gradcheck

from kdanalysis import Blockwise, Loss
from kdanalysis.losses import by_rows, restore_loss

Problem = tuple[Tensor, Tensor, Tensor]


def problem(loss: Loss, seed: int, scale: float = 3.0, n: int = 5, c: int = 7) -> Problem:
    """Float64 logits of the shapes that the loss takes, and targets (n,)."""
    sides = []
    for place in (0, 1):
        count = sum(m * m for m in loss.scales or ()) or (loss.stacked if place == 0 else None)
        many = batch(seed + 50 * place, scale, n * (count or 1), c)[place]
        sides.append(many.unflatten(0, (n, count)).mT.contiguous() if count else many)
    return *sides, batch(seed, n=n, c=c)[2]


def autograd(loss: Loss, student: Tensor, teacher: Tensor, target: Tensor, ramp: float) -> dict:
    """One backward pass a term, on its sum over samples; its graph makes it torch's own."""
    student = student.clone().requires_grad_()
    values = loss(student, teacher, target, ramp)
    return {
        name: torch.autograd.grad(value.sum(), student, create_graph=True)[0].detach()
        for name, value in values.items()
    }


def closed_forms_equal_autograd(loss: Loss) -> None:
    for scale in (0.3, 3.0, 30.0):
        given = problem(loss, 1, scale, n=25)
        closed = loss.gradients(*given, ramp=0.7)
        expected = autograd(loss, *given, ramp=0.7)
        assert list(closed) == list(expected) == list(loss.terms)
        for name in closed:
            torch.testing.assert_close(closed[name], expected[name], rtol=1e-10, atol=1e-12)


def many_logits_are_looked_at_by_rows(loss: Loss) -> None:
    student, *given = problem(loss, 8, n=11)
    found = []
    for most in (student.numel(), 3 * student[0].numel()):  # all at once, and 3 rows at a time
        leaf = student.clone().requires_grad_()
        with patch.dict(by_rows.AT_A_TIME, cpu=most):
            values = loss(leaf, *given, 0.7)
            upstream = torch.cos(torch.arange(11, dtype=torch.float64))  # another one a sample
            total = sum(((2 + i) * upstream * v).sum() for i, v in enumerate(values.values()))
            slopes = [
                torch.autograd.grad(total, leaf, retain_graph=True, create_graph=graph)[0]
                for graph in (False, True)
            ]
            with torch.no_grad():
                alone = loss(leaf, *given, 0.7)
            terms = loss.gradients(leaf, *given, 0.7)
        found.append([*values.values(), *slopes, *alone.values(), *terms.values()])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-12)


def values_agree_with_finite_differences(loss: Loss) -> None:
    student, teacher, target = problem(loss, 1, scale=1.0, n=3)
    moved = student[..., :1] if isinstance(loss, Blockwise) else student  # else its mean moves

    def values(part: Tensor) -> tuple[Tensor, ...]:
        whole = torch.cat((part, student[..., 1:]), -1) if moved is not student else part
        return tuple(loss(whole, teacher, target).values())

    assert gradcheck(values, moved.clone().requires_grad_(), fast_mode=True)


def shapes_are_a_value_a_sample_and_a_gradient_a_logit(loss: Loss) -> None:
    given = problem(loss, 2)
    assert {value.shape for value in loss(*given).values()} == {given[2].shape}
    assert {slope.shape for slope in loss.gradients(*given).values()} == {given[0].shape}


def no_gradient_reaches_the_teacher(loss: Loss) -> None:
    student, teacher, target = problem(loss, 2)
    student.requires_grad_(), teacher.requires_grad_()
    sum(loss(student, teacher, target).values()).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None  # the control: a gradient did flow


def the_ramp_scales_a_term_or_leaves_it(loss: Loss) -> None:
    given = problem(loss, 3)
    for call in (loss, loss.gradients):
        whole, half = call(*given), call(*given, ramp=0.5)
        for name in whole:
            stays = name.split("/")[-1] in ("ce", "bce", "task")
            torch.testing.assert_close(half[name], (1.0 if stays else 0.5) * whole[name])


def samples_do_not_depend_on_each_other(loss: Loss) -> None:
    given = problem(loss, 4)
    alone = loss(*(side[2:3] for side in given))
    for name, value in loss(*given).items():
        torch.testing.assert_close(value[2:3], alone[name])


OF_SIGMOIDS = ("present", "absent", "bce")  # terms of heads that are no softmax


def a_shift_of_all_logits_changes_nothing_but_sigmoids(loss: Loss) -> None:
    student, teacher, target = problem(loss, 6)
    shifted = loss(student + 3.0, teacher - 5.0, target)
    for name, value in loss(student, teacher, target).items():
        same = torch.allclose(shifted[name], value, rtol=1e-7, atol=1e-7)
        assert same == (name not in OF_SIGMOIDS)


def needs_target_says_whether_the_labels_matter(loss: Loss) -> None:
    student, teacher, target = problem(loss, 3)
    one, two = (sum(loss(student, teacher, y).values()) for y in (target, (target + 1) % 7))
    assert loss.needs_target == (not torch.equal(one, two))
    if loss.needs_target:
        for asked in (loss, loss.gradients):
            with pytest.raises(ValueError, match="needs the label of every sample, got None"):
                asked(student, teacher)
    else:
        assert torch.equal(sum(loss(student, teacher).values()), one)
        for name, slope in loss.gradients(student, teacher).items():
            assert torch.equal(slope, loss.gradients(student, teacher, target)[name])


def repr_gives_the_loss_back(loss: Loss) -> None:
    found = restore_loss(repr(loss))
    assert type(found) is type(loss)
    assert repr(found) == repr(loss)
    assert found.term_weights == loss.term_weights


def the_constructors_arguments_are_set_once(loss: Loss) -> None:
    for name in signature(type(loss)).parameters:
        with pytest.raises(AttributeError):
            setattr(loss, name, 3)


def confident(loss: Loss, gap: float, dtype: torch.dtype) -> Problem:
    """Teacher and student agree on nothing and their top logit stands ``gap`` above the rest."""
    student, teacher, target = problem(loss, 0, scale=1.0)
    rows = torch.arange(len(target))
    teacher[rows, target] += gap
    student[rows, (target + 1) % 7] += gap
    return student.to(dtype), teacher.to(dtype), target


def low_precision_input_gives_the_float64_result(loss: Loss) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for gap in (10.0, 1e3, 1e4):
            student, teacher, target = confident(loss, gap, dtype)
            given, exact = (student, teacher, target), (student.double(), teacher.double(), target)
            values, slopes = loss(*given), loss.gradients(*given)
            for name, value in loss(*exact).items():
                assert value.isfinite().all()
                assert values[name].dtype == torch.float32
                torch.testing.assert_close(values[name].double(), value, rtol=2e-5, atol=2e-5)
            for name, slope in loss.gradients(*exact).items():
                torch.testing.assert_close(slopes[name].double(), slope, rtol=2e-4, atol=2e-4)


def non_finite_logits_are_an_error_that_names_sample_and_side(loss: Loss) -> None:
    for place, side in enumerate(("student", "teacher")):
        for bad in (float("nan"), float("inf"), float("-inf")):
            given = problem(loss, 3)
            given[place][2, 4] = bad
            given[place].requires_grad_()
            for call in (loss, loss.gradients):
                with pytest.raises(ValueError, match=f"{side} .* sample 2 hold .* at class 4"):
                    call(*given)


CLAIMS: list[Callable[[Loss], None]] = [
    closed_forms_equal_autograd,
    many_logits_are_looked_at_by_rows,
    values_agree_with_finite_differences,
    shapes_are_a_value_a_sample_and_a_gradient_a_logit,
    no_gradient_reaches_the_teacher,
    the_ramp_scales_a_term_or_leaves_it,
    samples_do_not_depend_on_each_other,
    a_shift_of_all_logits_changes_nothing_but_sigmoids,
    needs_target_says_whether_the_labels_matter,
    repr_gives_the_loss_back,
    the_constructors_arguments_are_set_once,
    low_precision_input_gives_the_float64_result,
    non_finite_logits_are_an_error_that_names_sample_and_side,
]
