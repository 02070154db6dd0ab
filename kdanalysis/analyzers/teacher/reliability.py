"""Reliability as sums: samples, confidence and hits by bin of confidence, at many temperatures."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.core.largest import top
from kdanalysis.core.octaves import exponentials

BINS = 15


def bin_edges() -> Float[Tensor, " b"]:
    """The 16 edges of the 15 bins of confidence."""
    return torch.linspace(0, 1, BINS + 1, dtype=torch.float64)


def sums_by_confidence(
    confidence: Float[Tensor, "t n"], correct: Bool[Tensor, " n"]
) -> dict[str, Float[Tensor, "t b"]]:
    """Samples (count), confidence and hits (correct) of 15 equal-width bins (low, high]."""
    edges, temperatures = bin_edges().to(confidence.device), len(confidence)
    rows = torch.arange(temperatures, device=confidence.device).unsqueeze(-1)
    place = (rows * BINS + torch.bucketize(confidence, edges[1:-1])).flatten()
    empty = confidence.new_zeros(temperatures * BINS)
    binned = {"count": torch.ones_like(confidence), "confidence": confidence, "correct": correct}
    return {
        name: empty.index_add(0, place, value.double().expand_as(confidence).flatten())
        .view(-1, BINS)
        for name, value in binned.items()
    }  # fmt: skip


def calibration_error(
    confidence: Float[Tensor, "t b"], correct: Float[Tensor, "t b"], n: Float[Tensor, "*t"]
) -> Float[Tensor, " t"]:
    """Mean over samples of |accuracy - mean confidence| of their bin, from its sums, in [0, 1].

    Guo et al., ICML 2017, arXiv 1706.04599.
    """
    return (confidence - correct).abs().sum(-1) / n


def calibration_sums(
    logits: Float[Tensor, "n c"], target: Int[Tensor, " n"], temperatures: Sequence[float]
) -> dict[str, Tensor]:
    """Sums over the samples: nll and brier by T; count, confidence and correct by (T, bin).

    And ``products``, those of the nll at two T.
    """
    predicted = top(logits)
    correct = predicted == target
    below = logits - logits.gather(-1, predicted.unsqueeze(-1))
    sums, squares = power_sums(below, temperatures)
    ladder = torch.tensor(temperatures, dtype=sums.dtype, device=sums.device).unsqueeze(-1)
    log_p = below.gather(-1, target.unsqueeze(-1)).squeeze(-1) / ladder - sums.log()
    return {
        "nll": -log_p.sum(-1),
        "products": log_p @ log_p.T,
        "brier": (squares / sums**2 - 2 * log_p.exp() + 1).sum(-1),
        **sums_by_confidence(1 / sums, correct),
    }


def power_sums(
    below: Float[Tensor, "n c"], temperatures: Sequence[float]
) -> tuple[Float[Tensor, "t n"], Float[Tensor, "t n"]]:
    """Sums over the classes of exp(x / T) and of exp(2x / T), for x <= 0."""
    ladder = sorted({*temperatures, *(temperature / 2 for temperature in temperatures)})
    sums = below.new_empty(len(ladder), len(below))
    for place, powers in exponentials(below, ladder):
        torch.sum(powers, -1, out=sums[place])
    own, half = ([ladder.index(t / by) for t in temperatures] for by in (1, 2))
    return sums[own], sums[half]
