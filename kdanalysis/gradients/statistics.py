"""Sums over samples of what the sweep shows: masses, values, norms, cosines and shares."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.gradients.sweep import Swept

PLAIN = (
    *("mass_top", "mass_other", "value_high", "value_low_top", "value_low_other"),
    *("norm_high", "norm_low_top", "norm_low_other", "norm_total", "value_kd", "norm_kd"),
    "entropy",
)
DEFINED = (  # not for every sample: a gradient of zero has no direction
    *("cosine_high_kd", "cosine_low_top_kd", "cosine_low_other_kd", "cosine_total_kd"),
    *("cosine_high_low_top", "cosine_high_low_other"),
    *("share_high", "share_low_top", "share_low_other"),
    *("kd_share_high", "kd_share_low_top", "kd_share_low_other"),
)


def sweep_sums(
    swept: Swept, weights: Sequence[float | int]
) -> tuple[Float[Tensor, "s k"], Float[Tensor, "d k"]]:
    """Return sums over samples of PLAIN and DEFINED, and for DEFINED the samples that have it.

    Args:
        swept: the terms of a batch.
        weights: of high, low_top and low_other; they enter the total and the shares.
    """
    w = weights
    high, top, other, kd = (
        square.sqrt() for square in (swept.high_high, swept.top_top, swept.other_other, swept.kd_kd)
    )
    total = torch.mul(swept.high_high, w[0] ** 2).add_(swept.top_top, alpha=w[1] ** 2)
    total.add_(swept.other_other, alpha=w[2] ** 2).add_(swept.high_top, alpha=2 * w[0] * w[1])
    total.add_(swept.high_other, alpha=2 * w[0] * w[2]).clamp_(min=0).sqrt_()
    one = torch.ones_like(kd[0])
    sums = [part.mv(one) for part in (*swept[:5], high, top, other, total)]
    sums += [part.sum().expand_as(sums[0]) for part in (swept.value_kd, kd, swept.entropy)]
    units = [norm.reciprocal() for norm in (high, top, other, total)]
    cosines = [part.mul_(u) for part, u in zip(_with_kd(swept, w), units, strict=True)]
    parts = [(cosine, kd[0].reciprocal()) for cosine in cosines]
    parts.append(((swept.high_top * units[0]).mul_(units[1]), one))
    parts.append(((swept.high_other * units[0]).mul_(units[2]), one))
    whole = torch.mul(high, w[0]).add_(top, alpha=w[1]).add_(other, alpha=w[2]).reciprocal_()
    norms = zip((high, top, other), w, strict=True)
    parts += [(norm * whole, one * weight) for norm, weight in norms]
    inside = [high, top * swept.mass_top, other * swept.mass_other]
    whole = torch.add(inside[0], inside[1]).add_(inside[2]).reciprocal_()
    parts += [(norm * whole, one) for norm in inside]
    found, counts = _defined(parts)
    return torch.cat((torch.stack(sums), found)).double(), counts.double()


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


def _defined(
    parts: Sequence[tuple[Float[Tensor, "k n"], Float[Tensor, " n"]]],
) -> tuple[Float[Tensor, "d k"], Float[Tensor, "d k"]]:
    """Sums of values times factors over the samples that have them, and how many have.

    0 / 0 marks a sample without.
    """
    sums = torch.stack([values.mv(factor) for values, factor in parts])
    counts = torch.full_like(sums, len(parts[0][1]))
    missing = ~sums.isfinite()
    for part in missing.any(1).nonzero().flatten().tolist():
        values, factor = parts[part]
        rows = missing[part]
        products = values[rows] * factor
        there = products.isfinite()
        sums[part, rows] = products.where(there, 0.0).sum(1)
        counts[part, rows] = there.sum(1).to(counts)
    return sums, counts
