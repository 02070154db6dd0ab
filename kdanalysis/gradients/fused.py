"""Sums over samples of the sweep's statistics, by compiled loops where the samples allow it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.gradients import kernels
from kdanalysis.gradients.pair import deviation
from kdanalysis.gradients.rank import Ranked
from kdanalysis.gradients.statistics import DEFINED, PLAIN, sweep_sums
from kdanalysis.gradients.sweep import REACH, sweep_terms


def total(
    ranked: Ranked,
    temperature: int | float,
    ks: Int[Tensor, " k"] | None,
    weights: Sequence[float | int],
) -> tuple[Float[Tensor, "s k"], Float[Tensor, "d k"]]:
    """Return ``sweep_sums(sweep_terms(ranked, temperature, ks), weights)``, on CPU quicker."""
    steep = ranked.span > REACH[ranked.teacher.dtype] * temperature
    if ranked.teacher.device.type != "cpu" or steep.all():
        return sweep_sums(sweep_terms(ranked, temperature, ks), weights)
    if not steep.any():
        return fused_sums(ranked, temperature, ks, weights)
    gentle, hard = (Ranked(*(side[..., rows] for side in ranked)) for rows in (~steep, steep))
    parts = (
        fused_sums(gentle, temperature, ks, weights),
        sweep_sums(sweep_terms(hard, temperature, ks), weights),
    )
    sums, counts = (a + b for a, b in zip(*parts, strict=True))
    return sums, counts


def fused_sums(
    ranked: Ranked,
    temperature: int | float,
    ks: Int[Tensor, " k"] | None,
    weights: Sequence[float | int],
) -> tuple[Float[Tensor, "s k"], Float[Tensor, "d k"]]:
    """Return the sums of one chunk whose samples are within ``REACH``."""
    pair, entropy = deviation(ranked, temperature)
    kd = pair.e - (1 - pair.shift) * pair.p
    kd = (kd * kd).sum(0).sqrt_()
    columns = (*pair[:4], entropy[0], kd)
    chosen = np.arange(1, len(pair.p)) if ks is None else ks.numpy()
    sums, counts = np.zeros((2, len(chosen), len(PLAIN) + len(DEFINED)))
    settings = float(temperature), tuple(float(w) for w in weights), chosen
    kernels.collect(*(column.numpy() for column in columns), *settings, sums, counts)
    return torch.from_numpy(sums.T), torch.from_numpy(counts.T[len(PLAIN) :])
