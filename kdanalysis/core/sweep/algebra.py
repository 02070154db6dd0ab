"""Every k at once: values and gradients of GDKD's terms for all top-k partitions of a sample.

With the classes sorted by the teacher, the top group of k is the first k classes and the other
group the rest, so that everything a partition needs grows class by class (``grow``). Per sample:
p = softmax(teacher / T), q = softmax(student / T), P and Q the masses of a group, D = Q - P of the
top group, v = q/Q - p/P inside a group. The gradients in the student's logits, over T, are

    high       D q/Q in the top group, -D q/Q in the other
    low_top    v in the top group, 0 elsewhere
    low_other  v in the other group, 0 elsewhere
    kd         q - p = high + P_top low_top + P_other low_other

so all norms and inner products follow from ||v||^2, <v, p/P> and ||p/P||^2 of both groups: O(c)
for all k after one sort, where a backward pass a term costs O(c) for each k. Arrays are (c, n), so
that a group, and the group before its last class, are slices.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.divergence import decompose, slopes
from kdanalysis.core.sweep.groups import ROUNDING, Group, Pair, deviation, grow, without_rounding
from kdanalysis.core.sweep.order import Ranked, split, unsplit

# Largest (max - min logit) / T at which squared probabilities keep all their digits.
REACH = {torch.float64: 300.0, torch.float32: 30.0}

# What is shown of a sample, in this order.
PLAIN = (
    *("mass_top", "mass_other", "value_high", "value_low_top", "value_low_other"),
    *("norm_high", "norm_low_top", "norm_low_other", "norm_total", "value_kd", "norm_kd"),
    "entropy",
    *("square_high", "square_low_top", "square_low_other", "square_kd"),
    *("inner_high_low_top", "inner_high_low_other"),
    *("inner_high_kd", "inner_low_top_kd", "inner_low_other_kd"),
)
DEFINED = (  # not for every sample: a gradient of zero has no direction
    *("cosine_high_kd", "cosine_low_top_kd", "cosine_low_other_kd", "cosine_total_kd"),
    *("cosine_high_low_top", "cosine_high_low_other"),
    *("share_high", "share_low_top", "share_low_other"),
    *("kd_share_high", "kd_share_low_top", "kd_share_low_other"),
)


class Swept(NamedTuple):
    """Terms of every sample for every k, T^2 included, unweighted; values in nats.

    Products are inner products of the terms' gradients in the student's logits: ``high_high`` is
    the squared norm of high. low_top and low_other share no class: their product is 0. What does
    not depend on k has one row.
    """

    mass_top: Float[Tensor, "k n"]
    mass_other: Float[Tensor, "k n"]
    value_high: Float[Tensor, "k n"]
    value_low_top: Float[Tensor, "k n"]
    value_low_other: Float[Tensor, "k n"]
    high_high: Float[Tensor, "k n"]
    top_top: Float[Tensor, "k n"]
    other_other: Float[Tensor, "k n"]
    high_top: Float[Tensor, "k n"]
    high_other: Float[Tensor, "k n"]
    value_kd: Float[Tensor, "1 n"]
    kd_kd: Float[Tensor, "1 n"]
    entropy: Float[Tensor, "1 n"]  # of the teacher at T, nats


def sweep_terms(
    ranked: Ranked, temperature: int | float, ks: Int[Tensor, " k"] | None = None
) -> Swept:
    """Return the terms at one temperature, for the given k or for every k from 1 to c - 1.

    Computed in the dtype of ``ranked``. In float64 norms, products and values agree with autograd
    to a relative 1e-8 wherever a norm exceeds 1e-6 of the logits' scale, students within 1e-7 of
    their teacher and saturated teachers included. Samples whose (max - min logit) / T is beyond
    300 (float32: 30) are computed one k after the other, exact and slower.
    """
    steep = ranked.span > REACH[ranked.teacher.dtype] * temperature
    if not steep.any():
        return _scan(ranked, temperature, ks)
    gentle, hard = split(ranked, ~steep)
    narrow = ranked.teacher.dtype != torch.float64
    slowly = sweep_terms if narrow else _one_by_one
    found = slowly(Ranked(*(side.double() for side in hard)), temperature, ks)
    found = Swept(*(part.to(ranked.teacher) for part in found))
    if steep.all():
        return found
    parts = zip(_scan(gentle, temperature, ks), found, strict=True)
    return Swept(*(unsplit(~steep, *both) for both in parts))


def _scan(ranked: Ranked, temperature: int | float, ks: Int[Tensor, " k"] | None) -> Swept:
    """Grow the top group from the first class and the other group from the last one."""
    pair, entropy = deviation(ranked, temperature)
    shift = pair.shift
    kd = pair.e - (1 - shift) * pair.p
    top, other = (grow(pair, temperature, backwards=back) for back in (False, True))
    value_kd = top.value[-1:].clone()
    top, other = Group(*(x[:-1] for x in top)), Group(*(x[1:] for x in other))
    if ks is not None:
        top, other = (Group(*(x[ks - 1] for x in side)) for side in (top, other))
    # The other group's deviations are small where the teacher is saturated: D comes from there.
    change = other.mass * (1 - shift) - other.excess
    change = change.masked_fill(change.square() <= ROUNDING * other.mass.square(), 0.0)
    top, other = (_without_rounding(group) for group in (top, other))
    # ||q/Q||^2 = <v, q/Q> + <v, p/P> + ||p/P||^2, in both groups
    high = (top.turned + other.turned).add_(top.along + other.along)
    high.add_(top.spread).add_(other.spread).mul_(change).mul_(change)
    return Swept(
        top.mass,
        other.mass,
        _high_value(top, other, change, pair).mul_(-(temperature**2)),
        top.value,
        other.value,
        high,
        top.within,
        other.within,
        top.turned * change,
        (other.turned * change).neg_(),
        value_kd,
        without_rounding((kd * kd).sum(0, keepdim=True), (pair.p**2).sum(0, keepdim=True))
        * temperature**2,
        entropy,
    )


def _without_rounding(group: Group) -> Group:
    """The group, without a gradient where that is no more than rounding."""
    none = group.within <= ROUNDING * group.spread
    within, turned = (x.masked_fill(none, 0.0) for x in (group.within, group.turned))
    return group._replace(within=within, turned=turned)


def _high_value(top: Group, other: Group, change: Tensor, pair: Pair) -> Float[Tensor, "k n"]:
    """-KL of the two groups' masses."""
    parts = []
    for group, d in ((top, change), (other, -change)):
        log = pair.log_ratio(d / group.mass, lambda g=group: g.excess / g.mass + pair.shift)
        parts.append(log.mul_(group.mass))
    return parts[0].add_(parts[1])


def _one_by_one(ranked: Ranked, temperature: int | float, ks: Int[Tensor, " k"] | None) -> Swept:
    """The same from the closed forms of every single partition: any logits, O(c) a k."""
    student, teacher = ranked.student.t(), ranked.teacher.t()
    place = torch.arange(teacher.shape[1], device=teacher.device)
    ks = place[1:] if ks is None else ks
    rows = [_partition_terms(student, teacher, place[:k], temperature) for k in ks.tolist()]
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    kd = temperature * ((student / temperature).softmax(-1) - (teacher / temperature).softmax(-1))
    value = temperature**2 * decompose(student, teacher, (None,), temperature).low[:, 0]
    entropy = torch.special.entr((teacher / temperature).softmax(-1)).sum(-1)
    return Swept(*columns, *(x.unsqueeze(0) for x in (value, (kd * kd).sum(-1), entropy)))


def _partition_terms(
    student: Tensor, teacher: Tensor, top: Tensor, temperature: int | float
) -> tuple[Tensor, ...]:
    """The first ten fields of ``Swept`` for one k, one value a sample."""
    members = top.expand(len(teacher), -1), None
    parts = decompose(student, teacher, members, temperature)
    values = (temperature**2 * value for value in (parts.high, *parts.low.unbind(-1)))
    high, (low_top, low_other) = slopes(student, teacher, members, (1.0, 1.0, 1.0), temperature)
    scale = (temperature / teacher.shape[1]) ** 2  # a group's ||p|g||^2 is 1/c at least
    high, low_top, low_other = (
        part.masked_fill((part.square().sum(-1, keepdim=True) <= ROUNDING * scale), 0.0)
        for part in (high, low_top, low_other)
    )
    pairs = (
        (high, high),
        (low_top, low_top),
        (low_other, low_other),
        (high, low_top),
        (high, low_other),
    )
    return *parts.mass.unbind(-1), *values, *((a * b).sum(-1) for a, b in pairs)


def sample_statistics(swept: Swept, weights: Sequence[float | int]) -> Float[Tensor, "s k n"]:
    """Return PLAIN and DEFINED of every sample; NaN or inf, 0 divided by 0, where there is none.

    Args:
        swept: the terms of a batch.
        weights: of high, low_top and low_other; they enter the total and the shares.
    """
    w = weights
    norms = [x.sqrt() for x in (swept.high_high, swept.top_top, swept.other_other)]
    total = w[0] ** 2 * swept.high_high + w[1] ** 2 * swept.top_top + w[2] ** 2 * swept.other_other
    total += 2 * w[0] * (w[1] * swept.high_top + w[2] * swept.high_other)
    total, kd = total.clamp_(min=0).sqrt_(), swept.kd_kd.sqrt()
    with_kd = _with_kd(swept, w)
    rows = [*swept[:5], *norms, total, swept.value_kd, kd, swept.entropy]
    rows += [swept.high_high, swept.top_top, swept.other_other, swept.kd_kd]
    rows += [swept.high_top, swept.high_other, *with_kd[:3]]
    rows += [x / y / kd for x, y in zip(with_kd, (*norms, total), strict=True)]
    rows.append(swept.high_top / norms[0] / norms[1])
    rows.append(swept.high_other / norms[0] / norms[2])
    for factors in (w, (1.0, swept.mass_top, swept.mass_other)):
        parts = [norm * factor for norm, factor in zip(norms, factors, strict=True)]
        whole = parts[0] + parts[1] + parts[2]
        rows += [part / whole for part in parts]
    return torch.stack([row.expand_as(total) for row in rows])


def add_up(
    statistics: Float[Tensor, "s k n"],
) -> tuple[Float[Tensor, "s k"], Float[Tensor, "d k"]]:
    """Return sums over samples of PLAIN and DEFINED, and for DEFINED the samples that have it."""
    defined = statistics[len(PLAIN) :]
    there = defined.isfinite()
    sums = torch.cat((statistics[: len(PLAIN)].sum(-1), defined.where(there, 0.0).sum(-1)))
    return sums.double(), there.sum(-1).double()


def _with_kd(swept: Swept, weights: Sequence[float | int]) -> list[Float[Tensor, "k n"]]:
    """Inner products with kd = high + P_top low_top + P_other low_other.

    Of high, low_top, low_other, and of their weighted total.
    """
    mass_top, mass_other = swept.mass_top, swept.mass_other
    high = torch.addcmul(swept.high_high, mass_top, swept.high_top)
    high.addcmul_(mass_other, swept.high_other)
    top = torch.addcmul(swept.high_top, mass_top, swept.top_top)
    other = torch.addcmul(swept.high_other, mass_other, swept.other_other)
    total = torch.mul(high, weights[0]).add_(top, alpha=weights[1])
    return [high, top, other, total.add_(other, alpha=weights[2])]
