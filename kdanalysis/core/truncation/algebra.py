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

    q: Float[Tensor, "n k"]
    p: Float[Tensor, "n k"]
    both: Float[Tensor, "n k"]

    def square(self, group: Group) -> Float[Tensor, "n k"]:
        """Return the squared norm."""
        far = self.q**2 * group.qq + self.p * (2 * self.q * group.pq + self.p * group.pp)
        near = self.q**2 * group.ee + self.both * (2 * self.q * group.pe + self.both * group.pp)
        found = torch.where(is_near(group), near, far)
        parts = self.q**2 * group.qq + self.p**2 * group.pp
        parts = torch.where(is_near(group), self.q**2 * group.ee + self.both**2 * group.pp, parts)
        return found.masked_fill(found <= ROUNDING * parts, 0.0)

    def along_full(self, group: Group) -> Float[Tensor, "n k"]:
        """Return the product with q - p."""
        far = self.q * (group.qq - group.pq) + self.p * (group.pq - group.pp)
        return torch.where(is_near(group), self.q * group.ee + self.both * group.pe, far)


class Rows(NamedTuple):
    """Some rows at one temperature, as ``collect`` gives them; both sides are 0 at the top K."""

    p: Float[Tensor, "n c"]
    q: Float[Tensor, "n c"]
    chosen: Int[Tensor, "n m"]  # the teacher's m largest classes, m the largest K
    top: Float[Tensor, "3 n m"]  # p, q, log(q/p) of them
    tail: Float[Tensor, "n s"]  # sums over the other classes, as in Group; last that of |q - p|
    entropy: Float[Tensor, " n"]  # of the teacher at T, nats
    overlap: Float[Tensor, "n m"]  # share of the student's K largest classes that the teacher has


def is_near(group: Group) -> Tensor:
    """Whether the masses of a group are close."""
    return (group.q < NEAR * group.p) & (group.p < NEAR * group.q)


def rows_of(
    student: Float[Tensor, "n c"], teacher: Float[Tensor, "n c"], temperature: float, most: int
) -> Rows:
    """Return both distributions of some rows of finite logits, and the top ``most`` < c of them.

    Two passes of exponentials a row, and no sort of the vocabulary; computed on the processor.
    """
    from kdanalysis.core.truncation import loops  # numba takes a while to load

    student, teacher = (x.detach().cpu().contiguous() for x in (student, teacher))
    if student.dtype != teacher.dtype or student.dtype not in (torch.float32, torch.float64):
        student, teacher = student.double(), teacher.double()
    chosen, others = largest(teacher, most), largest(student, most)
    samples, classes = teacher.shape
    p, q = np.empty((2, samples, classes))
    top, tail = np.empty((3, samples, most)), np.empty((samples, loops.SUMS + 1))
    entropy, overlap = np.empty(samples), np.empty((samples, most))
    sides = student.numpy(), teacher.numpy()
    loops.collect(*sides, chosen.numpy(), 1 / temperature, p, q, top, tail, entropy)
    place = np.full(classes, -1)
    loops.overlaps(chosen.numpy(), others.numpy(), place, overlap)
    overlap /= np.arange(1, most + 1)
    found = (torch.from_numpy(x) for x in (top, tail, entropy, overlap))
    return Rows(torch.from_numpy(p), torch.from_numpy(q), chosen, *found)


def groups_of(rows: Rows, ks: Sequence[int]) -> tuple[Group, Group]:
    """Return S and O for every K; the larger one's q - p is that of the other, which has digits."""
    p, q, u = rows.top
    e = q - p
    each = torch.stack((p, e, q, p * p, p * e, e * e, p * q, q * q, e - p * u))
    at = torch.tensor(ks) - 1
    inside = each.cumsum(-1)[..., at]
    after = each.flip(-1).cumsum(-1).flip(-1)
    after = torch.cat((after[..., 1:], torch.zeros_like(after[..., :1])), -1)[..., at]
    top, other = Group(*inside), Group(*(after + rows.tail[:, :-1].t().unsqueeze(-1)))
    moved = torch.where(top.p > other.p, -other.e, top.e)
    return top._replace(e=moved), other._replace(e=-moved)


def kept(name: Convention, top: Group, other: Group) -> tuple[Vector, Vector]:
    """Return the gradient that a convention keeps, over T, on S and on O."""
    one, none = torch.ones_like(top.p), torch.zeros_like(top.p)
    if name == "renormalise":
        of_top = Vector(1 / top.q, -1 / top.p, -top.e / (top.p * top.q))
        return of_top, Vector(none, none, none)
    if name == "bucket":
        moved = other.e / other.q
        return Vector(one, -one, none), Vector(moved, none, moved)
    if name == "none":
        return Vector(top.p, -one, -other.p), Vector(top.p, none, top.p)
    return Vector(one, -1 / top.p, -other.p / top.p), Vector(one, none, one)


def lost(name: Convention, top: Group, other: Group) -> tuple[Vector, Vector]:
    """Return the full gradient less the one that a convention keeps, over T, on S and on O."""
    one, none = torch.ones_like(top.p), torch.zeros_like(top.p)
    if name == "renormalise":
        of_top = Vector(-other.q / top.q, other.p / top.p, top.e / (top.p * top.q))
        return of_top, Vector(one, -one, none)
    if name == "bucket":
        return Vector(none, none, none), Vector(other.p / other.q, -one, -other.e / other.q)
    if name == "none":
        return Vector(other.p, none, other.p), Vector(other.p, -one, -top.p)
    return Vector(none, other.p / top.p, other.p / top.p), Vector(none, -one, -one)


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
