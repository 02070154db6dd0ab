"""Which rows of a batch of logits can be analysed, and which batches are refused."""

from collections.abc import Sequence
from math import isfinite

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.partition import check_target


def check_batch(
    teacher: Float[Tensor, "n c"],
    student: Float[Tensor, "n c"] | None = None,
    target: Int[Tensor, " n"] | None = None,
    num_classes: int | None = None,
) -> None:
    """Refuse a batch that no analyzer can read.

    Raises:
        ValueError: no samples, fewer than two classes, another class count than ``num_classes``,
            student and teacher of different shapes, or targets that are no class indices.
    """
    samples, classes = teacher.shape
    check_classes(classes)
    if num_classes is not None and classes != num_classes:
        raise ValueError(f"the logits have {classes} classes, the analyzer expects {num_classes}")
    if not samples:
        raise ValueError("the batch holds no samples, need at least one row of logits")
    if student is not None and student.shape != teacher.shape:
        raise ValueError(
            f"student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)} "
            f"must have the same shape"
        )
    if target is not None:
        if len(target) != samples:
            raise ValueError(f"got {len(target)} targets for {samples} samples, need one each")
        check_target(target, classes)


def check_classes(num_classes: int) -> None:
    """Raise a ValueError unless there are two classes to compare."""
    if num_classes < 2:
        raise ValueError(f"need at least 2 classes, got {num_classes}: one class is always certain")


def check_temperatures(temperatures: Sequence[float | int]) -> tuple[float, ...]:
    """Return the temperatures as floats.

    Raises:
        ValueError: there is none, one appears twice, or one is not a finite number above 0.
    """
    values = tuple(float(t) for t in temperatures)
    if not values:
        raise ValueError("need at least one temperature, got none")
    for t in values:
        if not (isfinite(t) and t > 0):
            raise ValueError(f"temperature must be a finite number above 0, got {t:g}")
    if len(set(values)) != len(values):
        raise ValueError(f"temperatures must differ from each other, got {values}")
    return values


def finite_rows(*logits: Float[Tensor, "n c"] | None) -> Bool[Tensor, " n"]:
    """Return True for the samples without NaN or inf on any side."""
    masks = [torch.isfinite(side).all(-1) for side in logits if side is not None]
    return torch.stack(masks).all(0)
