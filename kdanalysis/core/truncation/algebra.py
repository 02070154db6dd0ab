"""The gradient that a truncated teacher loses, for many K and every convention, in closed form.

S are the teacher's K most probable classes, O the others; P, Q, P_O, Q_O their masses under
p = softmax(teacher / T) and q = softmax(student / T). Over T (the loss times T^2) the gradients
in the student's logits are, on S and on O,

    full KL       q - p                    q - p
    renormalise   q/Q - p/P                0                          KL of S, both renormalised
    bucket        q - p                    q (Q_O - P_O) / Q_O        one more class for O
    none          P q - p                  P q                        sum over S of p log(p/q)
    teacher       q - p/P                  q                          the teacher renormalised alone

Each is a q + b p on either group, so that norms and products follow from sums of pp, pq and qq over
the groups. Where the masses of a group are close, q = e + p with e = q - p: a e + (a + b) p, from
sums of pp, pe and ee, keeps the digits of a small difference.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.largest import largest

Convention = Literal["renormalise", "bucket", "none", "teacher"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
NEAR = 2.0  # masses of a group within this factor are close
ROUNDING = 1e-14  # of the squares of the parts of a gradient: what is left of them is rounding


class Group(NamedTuple):
    """Sums over the classes of a group; e = q - p, h = e - p log(q/p), which is not negative."""

    p: Float[Tensor, "n k"]
    e: Float[Tensor, "n k"]
    q: Float[Tensor, "n k"]
    pp: Float[Tensor, "n k"]
    pe: Float[Tensor, "n k"]
    ee: Float[Tensor, "n k"]
    pq: Float[Tensor, "n k"]
    qq: Float[Tensor, "n k"]
    h: Float[Tensor, "n k"]


class Vector(NamedTuple):
    """A gradient, ``q`` times q and ``p`` times p on a group; ``both`` is their sum, exactly."""

    q: Float[Tensor, "v n k"]
    p: Float[Tensor, "v n k"]
    both: Float[Tensor, "v n k"]

    def square(self, group: Group) -> Float[Tensor, "v n k"]:
        """Return the squared norm."""
        near = is_near(group)
        other = torch.where(near, self.both, self.p)
        mixed, of_q = (torch.where(near, *x) for x in ((group.pe, group.pq), (group.ee, group.qq)))
        parts = self.q**2 * of_q + other**2 * group.pp
        found = parts + 2 * self.q * other * mixed
        return found.masked_fill(found <= ROUNDING * parts, 0.0)

    def along_full(self, group: Group) -> Float[Tensor, "v n k"]:
        """Return the product with q - p."""
        far = self.q * (group.qq - group.pq) + self.p * (group.pq - group.pp)
        return torch.where(is_near(group), self.q * group.ee + self.both * group.pe, far)


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
    tail: Float[Tensor, "n s"]  # sums over the other classes, as in Group; last that of |q - p|
    entropy: Float[Tensor, " n"]  # of the teacher at T, nats
    factors: Float[Tensor, "n 2k"]  # P_O / Q_O of every K, then P_O
    apart: Float[Tensor, "n 2k"]  # sums of |factor q - p| over the classes not among the top


def is_near(group: Group) -> Tensor:
    """Whether the masses of a group are close."""
    return (group.q < NEAR * group.p) & (group.p < NEAR * group.q)


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


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts as one, without the distributions."""
    known = Known(*map(torch.cat, zip(*(part.known for part in parts), strict=True)))
    top, *more = zip(*(part[3:] for part in parts), strict=True)
    return Rows(None, None, known, torch.cat(top, 1), *map(torch.cat, more))


def on_processor(*sides: Float[Tensor, "n c"]) -> list[Float[Tensor, "n c"]]:
    """Return logits as the loops take them: all of float64, or all of float32 if none has more."""
    narrow = all(side.dtype != torch.float64 for side in sides)
    dtype = torch.float32 if narrow else torch.float64
    return [side.detach().to("cpu", dtype).contiguous() for side in sides]


def groups_of(rows: Rows, ks: Sequence[int]) -> tuple[Group, Group]:
    """Return S and O for every K; the larger one's q - p is that of the other, which has digits."""
    each = summands(*rows.top)
    at = torch.tensor(ks) - 1
    inside = each.cumsum(-1)[..., at]
    after = each.flip(-1).cumsum(-1).flip(-1)
    after = torch.cat((after[..., 1:], torch.zeros_like(after[..., :1])), -1)[..., at]
    top, other = Group(*inside), Group(*(after + rows.tail[:, :-1].t().unsqueeze(-1)))
    moved = torch.where(top.p > other.p, -other.e, top.e)
    return top._replace(e=moved), other._replace(e=-moved)


def summands(
    p: Float[Tensor, "n m"], q: Float[Tensor, "n m"], u: Float[Tensor, "n m"]
) -> Float[Tensor, "s n m"]:
    """Return what every class adds to the sums of its group; u = log(q/p)."""
    e = q - p
    return torch.stack((p, e, q, p * p, p * e, e * e, p * q, q * q, e - p * u))


def kept(top: Group, other: Group) -> tuple[Vector, Vector]:
    """Return the gradients that the conventions keep, over T, on S and on O."""
    one, none = torch.ones_like(top.p), torch.zeros_like(top.p)
    moved, missing = other.e / other.q, -other.p / top.p
    return stacked(
        renormalise=((1 / top.q, -1 / top.p, -top.e / (top.p * top.q)), (none, none, none)),
        bucket=((one, -one, none), (moved, none, moved)),
        none=((top.p, -one, -other.p), (top.p, none, top.p)),
        teacher=((one, -1 / top.p, missing), (one, none, one)),
    )


def lost(top: Group, other: Group) -> tuple[Vector, Vector]:
    """Return full KL's gradient less those that the conventions keep, over T, on S and on O."""
    one, none = torch.ones_like(top.p), torch.zeros_like(top.p)
    missing, factor = other.p / top.p, other.p / other.q
    return stacked(
        renormalise=((-other.q / top.q, missing, top.e / (top.p * top.q)), (one, -one, none)),
        bucket=((none, none, none), (factor, -one, -other.e / other.q)),
        none=((other.p, none, other.p), (other.p, -one, -top.p)),
        teacher=((none, missing, missing), (none, -one, -one)),
    )


def stacked(**factors: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]) -> tuple[Vector, Vector]:
    """Return the vectors on S and on O of all conventions, in their order."""
    of_top, of_other = zip(*(factors[name] for name in CONVENTIONS), strict=True)
    return tuple(Vector(*map(torch.stack, zip(*of, strict=True))) for of in (of_top, of_other))


def values_of(top: Group, other: Group) -> dict[str, Float[Tensor, "n k"]]:
    """Return the value of full KL, and of every convention, over T^2, in nats.

    A sum over a group of p log(p/q) is that of h less Q - P, and h is what has the digits.
    """
    log_top, log_other = _log_ratio(top), _log_ratio(other)
    inside = (top.h - top.e) / top.p + log_top  # KL in S, both renormalised
    between = -(top.p * log_top + other.p * log_other)
    return {
        "full": top.h + other.h,
        "renormalise": inside,
        "bucket": between + top.p * inside,
        "none": top.h - top.e,
        "teacher": inside - top.q.log(),
    }


def _log_ratio(group: Group) -> Tensor:
    """Logarithm of Q / P of a group."""
    near = torch.log1p(group.e / group.p)
    return torch.where(is_near(group), near, group.q.log() - group.p.log())
