"""Captured steps as rows of a fixed state, and the epoch each of them belongs to."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor


def check_steps(steps: Sequence[int]) -> tuple[int, ...]:
    """Return the steps in ascending order; a ValueError where there is none or one is twice."""
    ordered = tuple(sorted(int(step) for step in steps))
    if not ordered:
        raise ValueError("need at least one captured step, got none")
    if len(set(ordered)) != len(ordered):
        raise ValueError("captured steps must differ from each other, one is given twice")
    return ordered


def place_steps(
    steps: tuple[int, ...], step: Int[Tensor, " n"] | None, samples: Int[Tensor, " n"]
) -> Int[Tensor, " n"]:
    """Row of every sample among ``steps``; logits without steps all belong to a single one.

    Args:
        steps: the captured steps, ascending.
        step: step of every sample, or None where the logits come from no training.
        samples: any tensor with one entry a sample, for the size and the device.

    Raises:
        ValueError: a step that was not announced, or none where several were.
    """
    if step is None:
        if len(steps) > 1:
            raise ValueError(f"the analyzer expects {len(steps)} steps, need the step of a sample")
        return torch.zeros(len(samples), dtype=torch.long, device=samples.device)
    known = torch.tensor(steps, device=step.device)
    place = torch.searchsorted(known, step.long()).clamp(max=len(steps) - 1)
    unknown = known[place] != step
    if unknown.any():
        raise ValueError(
            f"step {int(step[unknown][0])} is not among the {len(steps)} steps of the analyzer"
        )
    return place


def epoch_sums(
    size: int, place: Int[Tensor, " n"], epoch: Int[Tensor, " n"] | None
) -> Float[Tensor, "2 s"]:
    """Sum of the epochs and number of samples that have one, by row."""
    if epoch is None:
        return torch.zeros(2, size, dtype=torch.float64)
    empty = torch.zeros(size, dtype=torch.float64, device=place.device)
    pair = (epoch.double(), torch.ones_like(epoch, dtype=torch.float64))
    return torch.stack([empty.index_add(0, place, value) for value in pair])


def epoch_column(epochs: Float[Tensor, "*s"], repeats: int) -> pd.Series:
    """Epoch of every step, each ``repeats`` times, as integers; <NA> where none was given."""
    epoch = pd.Series(epochs.cpu().reshape(-1).round().repeat_interleave(repeats).numpy())
    return epoch.astype("Int64") if epoch.isna().any() else epoch.astype("int64")
