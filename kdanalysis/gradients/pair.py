"""The distributions of a teacher and a student, with the digits of a small difference."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.gradients.rank import Ranked

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
