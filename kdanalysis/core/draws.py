"""Draws from a teacher that are the same whenever they are asked for.

A draw depends on the order of the row's largest classes and on a seed, never on the batch that
the row stands in: a loss and its gradient see the same ones, in training and after.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.largest import largest

RANKS = 16  # classes whose order makes the key of a row
STEP = -7046029254386353131  # 2^64 over the golden ratio, as a signed number
MIXERS = (-4658895280553007687, -7723592293110705685)  # of splitmix64


def check_seed(seed: int) -> int:
    """Return the seed; a ValueError where it does not fit into the 64 bits that draws mix."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")
    return seed


def draw(logits: Float[Tensor, "n c"], count: int, seed: int) -> Int[Tensor, "n draws"]:
    """Return classes drawn with replacement from the softmax, in float64."""
    logits = logits.double()
    total = logits.softmax(-1).cumsum(-1)
    spots = _uniform(logits, count, seed) * total[:, -1:]
    return torch.searchsorted(total, spots, right=True).clamp(max=logits.shape[-1] - 1)


def _uniform(logits: Float[Tensor, "n c"], count: int, seed: int) -> Float[Tensor, "n draws"]:
    """Numbers in [0, 1), a row's from the order of its largest classes."""
    ranks = min(RANKS, logits.shape[-1] - 1)
    order = largest(logits, ranks) if ranks else logits.new_zeros(len(logits), 0)
    key = torch.full((len(logits),), seed, dtype=torch.long, device=logits.device)
    for rank in order.long().unbind(-1):
        key = _mix(key + STEP) ^ rank
    places = torch.arange(1, count + 1, device=logits.device) * STEP
    bits = _mix(key.unsqueeze(-1) + places)
    return _shifted(bits, 11).double() * 2.0**-53


def _mix(bits: Tensor) -> Tensor:
    """The finaliser of splitmix64: every bit in moves half of the bits out."""
    bits = (bits ^ _shifted(bits, 30)) * MIXERS[0]
    bits = (bits ^ _shifted(bits, 27)) * MIXERS[1]
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Shift to the right, zeros from the left."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
