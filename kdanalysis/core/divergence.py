"""Exact split of the distillation divergence over a partition of the classes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

DIVERGENCES = ("forward", "reverse", "both")


class Decomposition(NamedTuple):
    """Parts of KL(teacher || student) per sample in nats, before any weight or factor T^2."""

    high: Float[Tensor, " n"]  # KL between the group masses
    low: Float[Tensor, "n g"]  # divergence inside each group, both sides renormalised
    mass: Float[Tensor, "n g"]  # teacher mass of each group


def decompose(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    groups: Int[Tensor, "n c"],
    num_groups: int,
    temperature: int | float = 1.0,
    divergence: str = "forward",
) -> Decomposition:
    """Split KL(p || q) by the chain rule, p = softmax(teacher / T) and q = softmax(student / T).

        KL(p || q) = KL(P || Q) + sum_g P_g KL(p|g || q|g)

    P_g and Q_g are the masses of group g, p|g and q|g the distributions renormalised inside g.
    The identity holds for every partition without empty groups; KD, DKD and GDKD differ only in
    the weights they give to the parts. ``divergence`` replaces the parts inside the groups by
    KL(q|g || p|g) ("reverse") or by the mean of the two directions ("both").
    """
    member, inside = _split(student, teacher, groups, num_groups, temperature)
    log_q_mass, log_p_mass = inside.logsumexp(-1).log_softmax(-1)
    own = groups.expand(2, *groups.shape).unsqueeze(2)
    log_q, log_p = inside.log_softmax(-1).gather(2, own).squeeze(2)
    low = _directed(log_p, log_q, divergence).unsqueeze(1).where(member, 0.0).sum(-1)
    return Decomposition(divergence_terms(log_p_mass, log_q_mass).sum(-1), low, log_p_mass.exp())


def divergence_terms(
    log_p: Float[Tensor, "*shape c"], log_q: Float[Tensor, "*shape c"]
) -> Float[Tensor, "*shape c"]:
    """Return p log(p/q) - p + q elementwise; over a distribution it sums to KL(p || q), in nats.

    No term is negative and each is second order in log(p/q), so that the sum keeps its digits
    where the student is close to the teacher. Both arguments must be finite.
    """
    log_ratio = log_p - log_q
    close = log_ratio.abs() < 0.5
    small = log_ratio.where(close, 0.0)
    p = log_p.exp()
    return torch.where(
        close,
        p * ((-small).expm1() + small),  # e^-u - 1 + u without cancellation
        p * log_ratio + (log_q.exp() - p),
    )


def _directed(log_p: Tensor, log_q: Tensor, divergence: str) -> Tensor:
    if divergence == "forward":
        return divergence_terms(log_p, log_q)
    if divergence == "reverse":
        return divergence_terms(log_q, log_p)
    return (divergence_terms(log_p, log_q) + divergence_terms(log_q, log_p)) / 2


def _split(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    groups: Int[Tensor, "n c"],
    num_groups: int,
    temperature: int | float,
) -> tuple[Bool[Tensor, "n g c"], Float[Tensor, "2 n g c"]]:
    """Membership, and both sides' logits / T with -inf outside the group."""
    ids = torch.arange(num_groups, device=groups.device).unsqueeze(-1)
    member = groups.unsqueeze(1) == ids
    both = torch.stack((student, teacher)) / temperature
    return member, both.unsqueeze(2).masked_fill(~member, float("-inf"))


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
