"""Closed-form gradients of the split divergence's parts in the student's logits.

With p = softmax(teacher / T), q = softmax(student / T), P_g and Q_g the masses of group g, and
p|g, q|g the distributions renormalised inside g:

    d T^2 high / d z_i            = T q_i|g (Q_g - P_g)                            i in g
    d T^2 low_g / d z_i           = T (q_i|g - p_i|g)                              forward
    d T^2 KL(q|g || p|g) / d z_i  = T q_i|g (log(q_i|g / p_i|g) - KL(q|g || p|g))  reverse

z are the student's logits; a low part's gradient is zero outside its group. No backward pass.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEVER = float("-inf")


class Slopes(NamedTuple):
    """Gradients in the student logits of weight * T^2 times the parts of a ``Decomposition``."""

    high: Float[Tensor, "n c"]
    low: tuple[Float[Tensor, "n c"], ...]  # one a group


def slopes(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    groups: Int[Tensor, "n c"],
    weights: Sequence[int | float],
    temperature: int | float = 1.0,
    divergence: str = "forward",
) -> Slopes:
    """Return the gradients for any partition.

    Args:
        student: logits.
        teacher: logits.
        groups: group ids of the classes, as a partition gives them.
        weights: of the high part, then of every group's low part.
        temperature: T > 0.
        divergence: direction of the low parts: "forward", "reverse" or "both" (their mean).
    """
    both = torch.stack((student, teacher)).div_(temperature)
    inside = [both.masked_fill(groups != g, NEVER) for g in range(len(weights) - 1)]
    within = [logits.softmax(-1) for logits in inside]
    sums = torch.stack([_log_sum(x, y) for x, y in zip(inside, within, strict=True)])
    q_mass, p_mass = sums.softmax(0).unbind(1)
    scale, *scales = (temperature * weight for weight in weights)
    change = _of_smaller(q_mass - p_mass, p_mass).mul_(scale).unsqueeze(-1)
    high = sum(c * q for c, (q, _) in zip(change, within, strict=True))
    pairs = zip(inside, within, scales, strict=True)
    return Slopes(high, tuple(_low(*pair, divergence) for pair in pairs))


def slopes_of_chosen(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    chosen: Int[Tensor, "n k"],
    weights: Sequence[int | float] = (1.0, 1.0, 1.0),
    temperature: int | float = 1.0,
    divergence: str = "forward",
) -> Slopes:
    """Return what ``slopes`` does where group 0 holds the chosen classes and group 1 the others.

    The chosen classes are gathered and scattered instead of masked, which costs a fraction.
    """
    both = torch.stack((student, teacher)).div_(temperature)
    index = chosen.expand(2, *chosen.shape)
    picked, whole = both.gather(-1, index), both.softmax(-1)
    top_mass = whole.gather(-1, index).sum(-1, keepdim=True)
    rest_mass = whole.scatter_(-1, index, 0.0).sum(-1, keepdim=True)
    # The difference of the smaller masses keeps its digits where both sides are confident.
    by_top, by_rest = top_mass[0] - top_mass[1], rest_mass[1] - rest_mass[0]
    others = both.scatter_(-1, index, NEVER)
    top, rest = _narrow_softmax(picked), others.softmax(-1)
    scale, scale_top, scale_other = (temperature * weight for weight in weights)
    change = by_top.where(top_mass[1] < 0.5, by_rest).mul_(scale)
    high = (rest[0] * -change).scatter_(-1, chosen, top[0] * change)
    low_top = _low(picked, top, scale_top, divergence)
    low_top = torch.zeros_like(high).scatter_(-1, chosen, low_top)
    return Slopes(high, (low_top, _low(others, rest, scale_other, divergence)))


def _of_smaller(change: Float[Tensor, "g n"], mass: Float[Tensor, "g n"]) -> Float[Tensor, "g n"]:
    """Let the largest group's change be minus the sum of the others', which has more digits."""
    largest = mass.argmax(0, keepdim=True)
    change = change.scatter(0, largest, 0.0)
    return change.scatter(0, largest, -change.sum(0, keepdim=True))


def _narrow_softmax(logits: Float[Tensor, "*n k"]) -> Float[Tensor, "*n k"]:
    """Softmax over few classes, in steps over all rows: torch's own goes row by row."""
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(-1, keepdim=True))


def _log_sum(logits: Float[Tensor, "*n c"], softmax: Float[Tensor, "*n c"]) -> Float[Tensor, "*n"]:
    """Logsumexp: the largest probability is 1 / sum exp(x - max), so no second exp is needed."""
    return logits.amax(-1).sub_(softmax.amax(-1).log_())


def _low(
    logits: Float[Tensor, "2 n c"],
    softmax: Float[Tensor, "2 n c"],
    scale: int | float,
    divergence: str,
) -> Float[Tensor, "n c"]:
    q, p = softmax[0], softmax[1]
    if divergence == "forward":
        return (q - p).mul_(scale)
    log_q, log_p = logits.log_softmax(-1)
    ratio = (log_q - log_p).where(logits[0] > NEVER, 0.0)
    reverse = q * (ratio - (q * ratio).sum(-1, keepdim=True))
    return scale * (reverse if divergence == "reverse" else (q - p + reverse) / 2)
