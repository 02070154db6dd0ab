"""What analyzers do with a stream of batches: refuse, and leave rows out."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.core.arguments import fitted
from kdanalysis.core.largest import top
from kdanalysis.core.logits import check_dense
from kdanalysis.core.partition import check_target
from kdanalysis.core.vocabulary import what_cuts
from kdanalysis.core.wording import PICKED

NAMED = 5  # classes that a sentence names
CACHED = 2**17  # numbers of 4 bytes that stay in a processor's cache


def check_batch(
    teacher: Float[Tensor, "n c"],
    student: Float[Tensor, "n c"] | None = None,
    target: Int[Tensor, " n"] | None = None,
    num_classes: int | None = None,
) -> None:
    """Refuse a batch that no analyzer can read.

    Raises:
        ValueError: no dense floating numbers, other dimensions, no samples, fewer than two classes,
            another class count than ``num_classes``, sides of different shapes, or targets that are
            no class indices.
    """
    check_dense("teacher logits", teacher)
    if student is not None:
        check_dense("student logits", student)
    if teacher.dim() != 2:
        hint = f": {PICKED}" if teacher.dim() == 3 else ""
        raise ValueError(f"logits have shape {tuple(teacher.shape)}, need (samples, classes){hint}")
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
        if target.shape != (samples,):
            raise ValueError(
                f"target has shape {tuple(target.shape)} for {samples} samples: need one each"
            )
        check_target(target, classes)


def check_classes(num_classes: int) -> int:
    """Return the number of classes; a ValueError unless there are two to compare."""
    if num_classes < 2:
        raise ValueError(f"need at least 2 classes, got {num_classes}: one class is always certain")
    return num_classes


def check_temperatures(temperatures: Sequence[float | int]) -> tuple[float, ...]:
    """Return the temperatures as floats.

    Raises:
        ValueError: there is none, one appears twice, or one is no number from 0.001 to 10 000.
    """
    given = fitted("temperatures", temperatures, Sequence[float])
    values = tuple(check_temperature(t) for t in given)
    if not values:
        raise ValueError("need at least one temperature, got none")
    if len(set(values)) != len(values):
        raise ValueError(f"temperatures must differ from each other, got {values}")
    return values


def check_temperature(temperature: float | int) -> float:
    """Return it as a float; a ValueError where it is no number from 0.001 to 10 000.

    Beyond that float32 holds no digit of logits / T that matters; from about 100 upwards float64
    logits are the better input, since the terms are differences that shrink as T grows.
    """
    number = fitted("temperature", temperature, float)
    if not 1e-3 <= number <= 1e4:
        raise ValueError(f"temperature must lie between 0.001 and 10000, got {number:g}")
    return number


def finite_rows(*logits: Float[Tensor, "n c"] | None) -> Bool[Tensor, " n"]:
    """Return True for the samples without NaN or inf on any side."""
    sides = [side for side in logits if side is not None]
    kept = torch.stack([side.sum(-1).isfinite() for side in sides]).all(0)
    if kept.all():
        return kept
    ends = [end(side, -1) for side in sides for end in (torch.amin, torch.amax)]
    return torch.stack([end.isfinite() for end in ends]).all(0)  # a sum may overflow


def nothing_finite(what: object, *sides: Float[Tensor, "n c"]) -> str:
    """Say that every row holds NaN or inf, and where -inf alone is why."""
    said = f"every row of {what} holds NaN or inf: there is nothing to look at"
    return said + lost_to_masks(what, *sides)


def lost_to_masks(what: object, *sides: Float[Tensor, "n c"]) -> str:
    """Say what to do where -inf, and neither NaN nor +inf, is in every row; "" otherwise.

    Args:
        what: whose logits these are.
        sides: of the same rows and classes.
    """
    if size := before_padding(*sides):
        return f"; {what_cuts(what, size)}, which is -inf in all of them"
    if not (sides and len(sides[0])) or finite_rows(*sides).any():
        return ""
    if not all((side < torch.inf).all() for side in sides):
        return ""
    always = torch.stack([side.isneginf().all(0) for side in sides]).any(0)
    rest = [side[:, ~always] for side in sides]
    several = len(sides[0]) > 1  # of one row a mask and a filter look alike
    if several and always.any() and rest[0].shape[1] > 1 and finite_rows(*rest).any():
        places = always.nonzero().flatten().tolist()
        which = "class {} is" if len(places) == 1 else "classes {} are"
        shown = ", ".join(map(str, places[:NAMED])) + ", ..." * (len(places) > NAMED)
        return (
            f"; {which.format(shown)} -inf in the first {len(sides[0])} of them, as masked classes "
            f"are: leave their columns out of both sides, and number labels without them"
        )
    counts = [side[0].isneginf().sum() for side in sides]
    return (
        f"; the first has -inf at {int(max(counts))} of {sides[0].shape[1]} classes, as a mask or "
        f"a filter (top-k, top-p) leaves it: need the logits before it; a teacher's that remain "
        f"may be given as ids and log-probabilities, as kd.read_sparse reads them"
    )


def before_padding(*sides: Float[Tensor, "n c"]) -> int:
    """Return the number of classes before those that are -inf in all rows of a side.

    0 if that is no why.
    """
    size = min((int((~side.isneginf().all(0)).sum()) for side in sides), default=0)
    beyond = [side[:, size:] for side in sides if size < side.shape[1]]
    padded = size > 1 and any(side.isneginf().all() for side in beyond)
    return size if padded and finite_rows(*(side[:, :size] for side in sides)).any() else 0


def top_of_finite(logits: Float[Tensor, "n c"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
    """Return the class of the largest logit, as ``top`` does, and True for rows without NaN or inf.

    On a processor some rows at a time, which are made wider and looked at twice while they are in
    the cache.
    """
    several = max(1, CACHED // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    parts = [(top(rows), rows.sum(-1)) for rows in map(single, logits.split(several))]
    tops, sums = map(torch.cat, zip(*parts, strict=True)) if len(parts) > 1 else parts[0]
    finite = sums.isfinite()
    return tops, finite if finite.all() else finite_rows(logits)


def single(column: Tensor) -> Tensor:
    """Return float16 as float32, with which a processor is several times faster."""
    return column.float() if column.dtype == torch.float16 else column
