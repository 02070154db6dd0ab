"""The sweep's statistics of a chunk: by compiled loops on processors, else by whole arrays."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.sweep.algebra import (
    DEFINED,
    PLAIN,
    REACH,
    add_up,
    sample_statistics,
    sweep_terms,
)
from kdanalysis.core.sweep.groups import deviation, without_rounding
from kdanalysis.core.sweep.order import Ranked, split, unsplit

Weights = Sequence[float | int]


def sums_over_samples(
    ranked: Ranked, temperature: int | float, ks: Int[Tensor, " k"] | None, weights: Weights
) -> tuple[Float[Tensor, "s k"], Float[Tensor, "d k"]]:
    """Return sums of PLAIN and DEFINED, and for DEFINED the samples that have it; T^2 included."""
    gentle, hard = split(ranked, _loops(ranked, temperature))
    parts = []
    if hard.span.numel():
        parts.append(add_up(sample_statistics(sweep_terms(hard, temperature, ks), weights)))
    if gentle.span.numel() or not parts:
        parts.append(_compiled(gentle, temperature, ks, weights, each=False)[:2])
    sums, counts = (sum(part) for part in zip(*parts, strict=True))
    return sums, counts


def of_every_sample(
    ranked: Ranked, temperature: int | float, ks: Int[Tensor, " k"] | None, weights: Weights
) -> Float[Tensor, "s k n"]:
    """Return PLAIN and DEFINED of every sample, T^2 included; NaN where there is none."""
    near = _loops(ranked, temperature)
    gentle, hard = split(ranked, near)
    if gentle.span.numel() or not hard.span.numel():
        found = _compiled(gentle, temperature, ks, weights, each=True)[2]
    if hard.span.numel():
        slow = sample_statistics(sweep_terms(hard, temperature, ks), weights)
        found = unsplit(near, found, slow) if near.any() else slow
    return found.where(found.isfinite(), torch.nan)


def _loops(ranked: Ranked, temperature: int | float) -> torch.Tensor:
    """Which samples the compiled loops take: those within REACH, on a CPU."""
    near = ranked.span <= REACH[ranked.teacher.dtype] * temperature
    return near if near.device.type == "cpu" else torch.zeros_like(near)


def _compiled(
    ranked: Ranked,
    temperature: int | float,
    ks: Int[Tensor, " k"] | None,
    weights: Weights,
    each: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums and counts of samples within REACH, and the statistics of ``each``, (s, k, n)."""
    from kdanalysis.core.sweep import loops  # numba: half a second

    pair, entropy = deviation(ranked, temperature)
    kd = pair.e - (1 - pair.shift) * pair.p
    kd = without_rounding((kd * kd).sum(0), (pair.p * pair.p).sum(0)).sqrt_()
    columns = (x.numpy() for x in (*pair[:4], entropy[0], kd))
    chosen = np.arange(1, len(pair.p)) if ks is None else ks.numpy()
    kinds = len(PLAIN) + len(DEFINED)
    sums, counts = np.zeros((2, len(chosen), kinds))
    found = np.empty((len(chosen) if each else 0, kinds, len(kd)))
    settings = float(temperature), tuple(float(w) for w in weights), chosen
    loops.collect(*columns, *settings, sums, counts, found)
    sums, counts, found = (torch.from_numpy(x) for x in (sums, counts, found))
    return sums.T, counts.T[len(PLAIN) :], found.transpose(0, 1)
