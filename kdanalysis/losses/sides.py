"""The two sides of a loss as they are called: checked, in one dtype, and what is not known told."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from kdanalysis.core.logits import check_dense
from kdanalysis.core.partition import check_target
from kdanalysis.core.regions import count_regions
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.sparse_rows import within
from kdanalysis.core.wording import PICKED

Side: TypeAlias = Tensor | SparseTeacher  # a teacher
Labels: TypeAlias = Int[Tensor, " n"] | Float[Tensor, "n c"]  # class indices, or distributions
SUM = 1e-2  # how far from 1 a distribution may add up, as bfloat16 rounds it


def checked(
    student: Any,
    teacher: Any,
    target: Any,
    scales: Sequence[int] | None = None,
    stacked: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return both logits, refusing what no loss can use.

    With ``scales`` they are region logits, with ``stacked`` the student's are so many a sample.
    """
    _check_kinds(target, student=student, teacher=teacher)
    _check_shapes(student, teacher, target, scales, stacked)
    # One sum finds any NaN or inf at the cost of one pass and one wait for the device.
    if not isfinite((_sum(student) + _sum(teacher)).item()):
        part = "region" if stacked is None else "column"
        _refuse_non_finite(part, student=student, teacher=teacher)
    return student, teacher


def promoted(student: Tensor, teacher: Side) -> tuple[Tensor, Side]:
    """Return both logits in one dtype of at least float32; of a sparse teacher the student's."""
    if isinstance(teacher, SparseTeacher):
        return student.to(_wide(student)), teacher
    dtype = torch.promote_types(_wide(student), teacher.dtype)
    return student.to(dtype), teacher.to(dtype)


def _wide(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _sum(logits: Tensor) -> Tensor:
    return logits.detach().sum(dtype=_wide(logits))


def _check_shapes(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    scales: Sequence[int] | None,
    stacked: int | None,
) -> None:
    kind, last = "student and teacher logits (n, c)", ((), ())
    if stacked is not None:
        last = ((stacked,), ())
        kind = f"student logits (n, c, {stacked}) of itself and its stones, teacher logits (n, c)"
    if scales is not None:
        count = count_regions(scales)
        last = ((count,), (count,))
        kind = f"student and teacher region logits (n, c, {count}) of the scales {tuple(scales)}"
    shape = (len(target), *student.shape[1:2]) if target.dim() == 1 else (None,)
    shape = tuple(target.shape) if is_soft(target) else shape
    fits = len(shape) == 2 and (student.shape, teacher.shape) == tuple(shape + x for x in last)
    if not fits:
        raise ValueError(
            f"need {kind} and targets (n,), got student "
            f"{tuple(student.shape)}, teacher {tuple(teacher.shape)}, target {tuple(target.shape)}"
        )


def is_soft(target: Tensor) -> bool:
    """Whether targets are rows over the classes (n, c) in place of class indices (n,)."""
    return target.dim() == 2 and target.is_floating_point()


def refuse_wide(target: Tensor) -> None:
    """Raise a ValueError for targets (n, c) that are no floating-point numbers."""
    if target.dim() == 2 and not target.is_floating_point():
        if target.shape[1] == 1:
            raise ValueError(
                f"targets of shape {tuple(target.shape)} are class indices in a column: need (n,), "
                f"as target[:, 0] gives them"
            )
        raise ValueError(
            f"targets of shape {tuple(target.shape)} hold {target.dtype}: class indices have the "
            f"shape (n,), and distributions over the classes (n, c) are floating-point numbers "
            f"that add up to 1, as target.float() makes them of one-hot rows"
        )


def are_distributions(soft: Float[Tensor, "n c"]) -> Bool[Tensor, " n"]:
    """Return which rows are distributions over the classes, but for rounding."""
    return ((soft.sum(-1) - 1).abs() <= SUM) & (soft >= 0).all(-1)


def distributions(target: Float[Tensor, "n c"], student: Float[Tensor, "n c"]) -> Tensor:
    """Return targets in the student's dtype.

    Raises:
        ValueError: another shape, or a row that is no distribution: it names the first such.
    """
    soft = _soft(target, student)
    wrong = ~are_distributions(soft)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        total, least = float(soft[row].sum()), float(soft[row].min())
        raise ValueError(
            f"target of sample {row} is no distribution over the classes: it adds up to "
            f"{total:.4g} and its smallest entry is {least:.4g}; for "
            f"labels of several classes at once there are BinaryCrossEntropy and Sigmoid"
        )
    return soft


def memberships(target: Tensor, student: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Return how far every class holds of a sample, in [0, 1]; class indices as one-hot.

    Raises:
        ValueError: another shape, a number beyond [0, 1], or an index that is no class.
    """
    if not is_soft(target):
        check_target(target, student.shape[-1])
        return one_hot(target.long(), student.shape[-1]).to(student)
    held = _soft(target, student)
    if not ((held >= 0) & (held <= 1)).all():
        low, high = float(held.min()), float(held.max())
        raise ValueError(
            f"targets (n, c) say of every class from 0 to 1 whether it is there, got numbers from "
            f"{low:.4g} to {high:.4g}"
        )
    return held


def _soft(target: Tensor, student: Tensor) -> Tensor:
    if target.shape != student.shape:
        raise ValueError(
            f"targets {tuple(target.shape)} and student logits {tuple(student.shape)} must have "
            f"the same shape"
        )
    return target.detach().to(student)


def _refuse_non_finite(part: str, **sides: Tensor) -> None:
    for side, logits in sides.items():
        bad = ~logits.isfinite()
        if bad.any():
            place = bad.nonzero()[0].tolist()
            value = float(logits.detach()[*place])
            sample, index, *last = place
            where = f"class {index}" + "".join(f" of {part} {r}" for r in last)
            raise ValueError(
                f"{side} logits of sample {sample} hold {value} at {where}; a loss "
                f"needs finite logits ({int(bad.flatten(1).any(-1).sum())} of {len(logits)} "
                f"samples are affected)"
            )


def checked_sparse(
    student: Any, teacher: SparseTeacher, target: Any
) -> tuple[Tensor, SparseTeacher]:
    """Return the student's logits (n, c) of the teacher's vocabulary, and the teacher beside them.

    Logits beyond the vocabulary are padding: they are left out, and a RuntimeWarning says how much
    of the student's mass they hold where that is more than a thousandth.
    """
    _check_kinds(target, student=student)
    labelled = len(target) if is_soft(target) else target.numel()
    if student.dim() != 2 or not len(student) == len(teacher) == len(target) == labelled:
        raise ValueError(
            f"need student logits (n, c), a SparseTeacher of n rows and targets (n,), got student "
            f"{tuple(student.shape)}, {teacher}, target {tuple(target.shape)}"
        )
    student = within(student, teacher)
    if not isfinite(_sum(student).item()):
        _refuse_non_finite("token", student=student)
    return student, teacher.to(student.device)


def _check_kinds(target: Any, **sides: Any) -> None:
    for name, values in (sides | {"target": target}).items():
        if not isinstance(values, Tensor):
            raise ValueError(f"{name} must be a torch tensor, got {type(values).__name__}")
    for name, logits in sides.items():
        check_dense(f"{name} logits", logits)
        if logits.dim() == 3 and logits.shape[:2] == target.shape and not is_soft(target):
            raise ValueError(f"the {name} logits have shape {tuple(logits.shape)}: {PICKED}")
    refuse_wide(target)
    wrong = target.is_floating_point() or target.is_complex() or target.dtype == torch.bool
    if wrong and not is_soft(target):
        raise ValueError(f"target must hold class indices as integers, got {target.dtype}")
