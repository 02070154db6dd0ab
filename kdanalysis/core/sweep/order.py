"""The teacher's order of the classes, which no temperature changes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

NARROW = (torch.float16, torch.bfloat16, torch.float32)


class Ranked(NamedTuple):
    """Logits with the classes in the teacher's order, largest first; one column a sample."""

    student: Float[Tensor, "c n"]  # less its largest logit
    teacher: Float[Tensor, "c n"]  # less its largest logit
    gap: Float[Tensor, "c n"]  # student less teacher, with the digits of a small difference
    span: Float[Tensor, " n"]  # largest less smallest logit, of the side where that is larger


def rank(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    dtype: torch.dtype = torch.float64,
) -> Ranked:
    """Sort the classes of every sample by the teacher; ties keep the order of their classes."""
    order = class_order(teacher)
    student, teacher = (x.gather(-1, order).t().to(dtype).contiguous() for x in (student, teacher))
    gap = student - teacher
    student, teacher = student - student.amax(0), teacher - teacher[0]
    return Ranked(student, teacher, gap, torch.maximum(-student.amin(0), -teacher[-1]))


def class_order(logits: Float[Tensor, "n c"]) -> Int[Tensor, "n c"]:
    """Return the classes by descending logit, ties by ascending class.

    Up to 32 bits the logit and the class fit into one integer, which numpy sorts several times as
    fast as a stable sort finds the order.
    """
    if logits.device.type != "cpu" or logits.dtype not in NARROW:
        return logits.sort(stable=True, dim=-1, descending=True).indices
    bits = (logits.float() + 0.0).view(torch.int32).long()  # + 0.0 makes -0.0 equal to 0.0
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    classes = torch.arange(logits.shape[-1], device=logits.device)
    keys = ascending.mul_(-(2**32)).add_(classes)
    keys.numpy().sort(-1)
    return keys.bitwise_and_(0xFFFFFFFF)


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
