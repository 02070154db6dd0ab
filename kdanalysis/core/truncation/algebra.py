"""Rows as their truncation is looked at: the known classes, and sums over the others."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeVar, get_args, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.largest import largest

Convention = Literal["renormalise", "bucket", "none", "teacher"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
Found = TypeVar("Found", bound=tuple)
NEAR = 2.0  # masses of a group within this factor are close


class Group(NamedTuple):
    """Sums over the classes of a group; e = q - p, h = e - p log(q/p), which is not negative."""

    p: Float[Tensor, " n"]
    e: Float[Tensor, " n"]
    q: Float[Tensor, " n"]
    pp: Float[Tensor, " n"]
    pe: Float[Tensor, " n"]
    ee: Float[Tensor, " n"]
    pq: Float[Tensor, " n"]
    qq: Float[Tensor, " n"]
    h: Float[Tensor, " n"]


class Known(NamedTuple):
    """The teacher's largest classes, whatever the temperature."""

    classes: Int[Tensor, "n m"]  # in that order, m the largest K
    overlap: Float[Tensor, "n m"]  # share of the student's K largest classes that the teacher has
    best: Int[Tensor, " n"]  # the student's largest class


class Rows(NamedTuple):
    """Some rows at one temperature, as ``collect`` gives them; both sides are 0 at the top K.


    Of rows that were kept without all logits p and q are None, and ``apart`` is NaN at a K of which
    it was not kept.
    """

    p: Float[Tensor, "n c"] | None  # where they were asked for
    q: Float[Tensor, "n c"] | None
    known: Known
    top: Float[Tensor, "3 n m"]  # p, q, log(q/p) of the known classes
    tail: Float[Tensor, "n s"]  # sums over the others as in Group, last that of |q - p|
    entropy: Float[Tensor, " n"]  # of the teacher at T, nats
    factors: Float[Tensor, "n 2k"]  # P_O / Q_O of every K, then P_O
    apart: Float[Tensor, "n 2k"]  # sums of |factor q - p| over the classes not among the top


@no_type_check
def is_near(of):
    """Whether the masses of a group are close: of one row where loops are compiled, or of many."""
    return (of.q < NEAR * of.p) & (of.p < NEAR * of.q)


def known_of(student: Float[Tensor, "n c"], teacher: Float[Tensor, "n c"], most: int) -> Known:
    """Return the top ``most`` < c classes of finite logits on the processor."""
    classes, theirs = largest(teacher, most), largest(student, most)
    return Known(classes, overlap_of(classes, theirs, teacher.shape[1]), theirs[:, 0])


def overlap_of(
    ours: Int[Tensor, "n m"], theirs: Int[Tensor, "n m"], classes: int
) -> Float[Tensor, "n m"]:
    """Return which share of the first K two lists of ``classes`` have in common, for every K."""
    from kdanalysis.core.truncation import loops  # numba takes a while to load

    found = np.empty(ours.shape)
    loops.overlaps(ours.numpy(), theirs.numpy(), np.full(classes, -1, np.int32), found)
    return torch.from_numpy(found / np.arange(1, ours.shape[1] + 1))


def rows_of(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    temperature: float | int,
    known: Known,
    ks: Sequence[int],
    into: tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]] | None = None,
) -> Rows:
    """Return what is to be known of some rows of finite logits on the processor.

    One exponential a logit, and no sort of the vocabulary. Memory is that of two rows in float64,
    unless the distributions of all are to be kept.

    Args:
        student: logits.
        teacher: logits.
        temperature: T.
        known: the teacher's largest classes.
        ks: every K.
        into: float64 tensors that get the distributions, p and q.
    """
    from kdanalysis.core.truncation import loops

    (samples, classes), most = teacher.shape, known.classes.shape[1]
    p, q = np.empty((2, 1, classes)) if into is None else (x.numpy() for x in into)
    top, tail = np.empty((3, samples, most)), np.empty((samples, loops.SUMS + 1))
    entropy, (factors, apart) = np.empty(samples), np.empty((2, samples, 2 * len(ks)))
    arrays = (x.numpy() for x in (student, teacher, known.best, known.classes))
    loops.collect(*arrays, np.array(ks), 1 / temperature, p, q, top, tail, entropy, factors, apart)
    found = (torch.from_numpy(x) for x in (top, tail, entropy, factors, apart))
    return Rows(*(into or (None, None)), known, *found)


def joined(parts: Sequence[Found]) -> Found:
    """Return what was found of some rows, then of others, as of all of them; None stays None.

    Rows are the first dimension, of three the second.
    """
    if len(parts) == 1:
        return parts[0]
    return type(parts[0])(*map(_joined, zip(*parts, strict=True)))


def _joined(parts: tuple) -> Any:
    if isinstance(parts[0], tuple):
        return joined(parts)
    return None if parts[0] is None else torch.cat(parts, 1 if parts[0].dim() == 3 else 0)


def on_processor(*sides: Float[Tensor, "n c"]) -> list[Float[Tensor, "n c"]]:
    """Return logits as the loops take them: all of float64, or all of float32 if none has more."""
    narrow = all(side.dtype != torch.float64 for side in sides)
    dtype = torch.float32 if narrow else torch.float64
    return [side.detach().to("cpu", dtype).contiguous() for side in sides]


def beyond(
    top: Float[Tensor, "3 n m"], tail: Float[Tensor, "n s"], ks: Sequence[int]
) -> Float[Tensor, "2 n k"]:
    """Return P_O and Q_O of every K; ``top`` and ``tail`` as in ``Rows``."""
    known, others = top[:2], tail[:, [0, 2]].t().unsqueeze(-1)
    after = torch.cat((torch.zeros_like(others), known.flip(-1)), -1).cumsum(-1)
    return after[..., top.shape[-1] - torch.tensor(ks)] + others


def factors_of(
    top: Float[Tensor, "3 n m"], tail: Float[Tensor, "n s"], ks: Sequence[int]
) -> Float[Tensor, "n f"]:
    """Return P_O / Q_O of every K, then P_O, as ``Rows`` has them."""
    of_p, of_q = beyond(top, tail, ks)
    return torch.cat((of_p / of_q, of_p), 1)
