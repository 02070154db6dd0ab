"""Sums over samples of what the sweep shows: masses, values, norms, cosines and shares."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.gradients.sweep import Swept

PLAIN = (
    *("mass_top", "mass_other", "value_high", "value_low_top", "value_low_other", "value_kd"),
    *("norm_high", "norm_low_top", "norm_low_other", "norm_kd", "norm_total", "entropy"),
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
    products = _with_kd(swept)
    with_total = torch.mul(products[0], w[0]).add_(products[1], alpha=w[1])
    products.append(with_total.add_(products[2], alpha=w[2]))
    per_kd = kd.reciprocal()
    unit = [norm.reciprocal() for norm in (high, top, other, total)]
    directions = [product.mul_(u).mul_(per_kd) for product, u in zip(products, unit, strict=True)]
    directions += [
        (swept.high_top * unit[0]).mul_(unit[1]),
        (swept.high_other * unit[0]).mul_(unit[2]),
    ]
    decoupled = [high * w[0], top * w[1], other * w[2]]
    inside = [high, top * swept.mass_top, other * swept.mass_other]
    plain = (*swept[:5], swept.value_kd, high, top, other, kd, total, swept.entropy)
    sums = [part.sum(1).expand(len(high)) for part in plain]
    pairs = [_defined(part) for part in (*directions, *_shares(decoupled), *_shares(inside))]
    return (
        torch.stack([*sums, *(s for s, _ in pairs)]).double(),
        torch.stack([count for _, count in pairs]).double(),
    )


def _with_kd(swept: Swept) -> list[Float[Tensor, "k n"]]:
    """Inner products of high, low_top and low_other with kd, their sum weighted by 1 and the P."""
    mass_top, mass_other = swept.mass_top, swept.mass_other
    high = torch.addcmul(swept.high_high, mass_top, swept.high_top)
    return [
        high.addcmul_(mass_other, swept.high_other),
        torch.addcmul(swept.high_top, mass_top, swept.top_top),
        torch.addcmul(swept.high_other, mass_other, swept.other_other),
    ]


def _shares(norms: list[Float[Tensor, "k n"]]) -> list[Float[Tensor, "k n"]]:
    whole = (norms[0] + norms[1]).add_(norms[2]).reciprocal_()
    return [norm * whole for norm in norms]


def _defined(values: Float[Tensor, "k n"]) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Sums over the samples that have a value, and how many have; 0 / 0 marks those without."""
    sums = values.sum(1)
    counts = torch.full_like(sums, values.shape[1])
    missing = ~sums.isfinite()
    if missing.any():
        rows = values[missing]
        there = rows.isfinite()
        sums[missing] = rows.where(there, 0.0).sum(1)
        counts[missing] = there.sum(1).to(counts)
    return sums, counts
