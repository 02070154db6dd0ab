"""Two distributions, and groups that grow class by class: what masses, gradients and values need.

Notation, per sample: p and q the distributions of teacher and student, P and Q the masses of a
group, v = q/Q - p/P inside it. With old and new the group before and after a class,

    g = p P_old (Q_old/P_old - q/p) / P_new
    M_new = M_old + 2 g <Q_old v_old, p>/P_old + g^2 (1 + ||p/P||_old^2)         M = ||Q v||^2
    L_new = L_old + P_new KL(P_old/P_new || Q_old/Q_new)                       L = P KL(p|g || q|g)

The second line is Welford's idea for weights p^2, the third the chain rule. Neither loses digits:
M of a part is at most (1 + sqrt c)^2 times M of the whole, and no summand of L is negative; the
plain difference of ||q/Q||^2 and its like would lose them all in a confident teacher's top group.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.sweep.order import Ranked

NEAR = 0.6, 1.6  # q/p of all classes between these: the student is close to the teacher
FAR = 1e-7  # a smaller ratio of the least q/p to the largest may take the digits of a log1p
ROUNDING = 1e-28  # of ||p||^2 in a group: a smaller ||v||^2 is no gradient
ALMOST_GONE = -1 + 1e-7  # below, log(1 + change) has lost its digits


class Pair(NamedTuple):
    """The distributions of teacher, p, and student, q = e + shift p, classes in some order."""

    p: Float[Tensor, "c n"]
    e: Float[Tensor, "c n"]  # sums of it keep their digits
    ratio: Float[Tensor, "c n"]  # e / p
    shift: Float[Tensor, " n"]  # 1 where e is q - p, 0 where it is q
    far: bool  # q / p differs so much among classes that log_ratio must take care

    def log_ratio(self, change: Tensor, ratio: Callable[[], Tensor]) -> Tensor:
        """Return log(1 + change), by way of ``ratio() = 1 + change`` where change is near -1."""
        log = change.log1p()
        return torch.where(change < ALMOST_GONE, ratio().log(), log) if self.far else log


def deviation(ranked: Ranked, temperature: int | float) -> tuple[Pair, Float[Tensor, "1 n"]]:
    """Return both distributions, and the teacher's entropy.

    e = q - p where the student is close to the teacher: with a = (student - teacher) / T less its
    mean under p, and s = sum p expm1(a), q - p = p (expm1(a) - s) / (1 + s), which loses no digit
    of a small difference. Elsewhere e = q, which loses none of a small probability.
    """
    teacher, e = ranked.teacher / temperature, (ranked.student / temperature).exp_()
    p = teacher.exp()
    norm = p.sum(0, keepdim=True)
    p /= norm
    entropy = norm.log_().sub_((p * teacher).sum(0, keepdim=True))
    e /= e.sum(0)
    ratio = e / p
    least, most = ratio.amin(0), ratio.amax(0)
    close = (least > NEAR[0]) & (most < NEAR[1])
    if close.any():
        weight, change = p[:, close], ranked.gap[:, close].div_(temperature)
        change.sub_((weight * change).sum(0)).expm1_()
        mean = (weight * change).sum(0)
        change.sub_(mean).div_(1 + mean)
        ratio[:, close], e[:, close] = change, weight * change
    far = bool((least < FAR * most).any())
    return Pair(p, e, ratio, close.to(p), far), entropy


def without_rounding(
    squares: Float[Tensor, "*s"], scale: Float[Tensor, "*s"] | float
) -> Float[Tensor, "*s"]:
    """Squared norms of gradients, 0 where they are no more than rounding of terms as ``scale``."""
    return squares.masked_fill(squares <= ROUNDING * scale, 0.0)


class Group(NamedTuple):
    """A group that holds the first 1, 2, ... c classes, or the last c, ... 2, 1; T^2 included."""

    mass: Float[Tensor, "k n"]  # P
    excess: Float[Tensor, "k n"]  # Q - shift P
    spread: Float[Tensor, "k n"]  # T^2 ||p/P||^2
    along: Float[Tensor, "k n"]  # T^2 <v, p/P>
    within: Float[Tensor, "k n"]  # T^2 ||v||^2
    turned: Float[Tensor, "k n"]  # T^2 <v, q/Q>
    value: Float[Tensor, "k n"]  # T^2 KL(p|g || q|g)


def grow(pair: Pair, temperature: int | float, *, backwards: bool) -> Group:
    """Add class after class, from the first or ``backwards`` from the last; T^2 included."""
    p, e, ratio, shift, _ = pair
    old, new = (slice(1, None), slice(None, -1)) if backwards else (slice(-1), slice(1, None))
    first = -1 if backwards else 0
    sums = p.new_empty(len(p), 4, p.shape[1])
    sums[:, 0], sums[:, 1] = p, e
    torch.mul(p, p, out=sums[:, 2])
    torch.mul(p, e, out=sums[:, 3])
    accumulate(sums, backwards)
    mass, excess, spread, along = sums.unbind(1)
    inverse = mass.reciprocal()
    mean = excess * inverse  # of e/p, weighted by p
    spread *= inverse
    along.mul_(inverse).addcmul_(mean, spread, value=-1)  # <Q v, p> / P
    along[first] = 0  # one class: v is 0, and rounding is left out
    spread *= inverse
    gap = mean[old] - ratio[new]
    step = (gap * p[new]).mul_(mass[old]).mul_(inverse[new])
    grown = p.new_empty(len(p), 2, p.shape[1])
    grown[first] = 0
    within, value = grown.unbind(1)
    torch.add(along[old], along[old], out=within[new])
    within[new].addcmul_(step, spread[old]).add_(step).mul_(step)
    inverse_q = torch.addcmul(excess, mass, shift).reciprocal_()
    gap *= inverse_q[new]

    def turn(own: Tensor) -> Tensor:  # Q_old/P_old or q/p, over Q_new/P_new
        return (own + shift) * mass[new] * inverse_q[new]

    log_old = pair.log_ratio(gap * p[new], lambda: turn(mean[old]))
    log_own = pair.log_ratio(gap.mul_(mass[old]).neg_(), lambda: turn(ratio[new]))
    torch.mul(log_old, mass[old], out=value[new]).addcmul_(log_own, p[new]).neg_()
    accumulate(grown, backwards)
    grown.clamp_(min=0)  # sums of squares and divergences; rounding may leave -1e-34
    value *= inverse.mul_(temperature**2)
    spread *= temperature**2
    along *= inverse_q.mul_(temperature)
    within.mul_(inverse_q).mul_(inverse_q)
    along *= temperature
    return Group(mass, excess, spread, along, within, within + along, value)


def accumulate(values: Float[Tensor, "c s n"], backwards: bool) -> None:
    """Put sums of the first 1, 2, ... c entries, or of the last ones, in the entries' place."""
    if values.device.type != "cpu":
        order = (lambda x: x.flip(0)) if backwards else (lambda x: x)
        values.copy_(order(order(values).cumsum(0)))
        return
    rows = list(values.numpy())  # row after row is eight times as fast as cumsum over rows
    for before, row in pairwise(reversed(rows) if backwards else rows):
        np.add(row, before, out=row)
