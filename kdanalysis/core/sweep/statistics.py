"""What the sweep shows of a sample: masses, values, norms, cosines and shares; and their sums."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.sweep.algebra import Swept

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
    rows = [*swept[:5], *norms, total, swept.value_kd, kd, swept.entropy]
    rows += [x / y / kd for x, y in zip(_with_kd(swept, w), (*norms, total), strict=True)]
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
