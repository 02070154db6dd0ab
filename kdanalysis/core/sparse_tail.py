"""How much mass unknown tokens can have at another temperature."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Bounds(NamedTuple):
    """Logs of the least and of the largest mass that the tail can have."""

    low: Float[Tensor, " n"]
    high: Float[Tensor, " n"]


def tail_bounds(
    inside: Float[Tensor, "n k"],
    tail: Float[Tensor, " n"],
    ratio: float,
    vocabulary: int,
    ranked: bool,
) -> Bounds:
    """Bound the tail's mass at ``ratio`` times the temperature of what is known.

    Args:
        inside: log-probabilities of the known tokens, -inf where absent.
        tail: log of the others' mass P_O.
        ratio: r > 0.
        vocabulary: V, the number of all tokens.
        ranked: whether the known tokens are the K largest, or one of them may be smaller.
    """
    known = (inside > -torch.inf).sum(-1)
    ordered = inside.sort(-1, descending=True).values
    place = (known - 1 if ranked else known - 2).unsqueeze(-1)
    largest = ordered.gather(-1, place.clamp(min=0)).squeeze(-1)
    largest = torch.where(place.squeeze(-1) < 0, tail, torch.minimum(largest, tail))
    left = (vocabulary - known).clamp(min=0)
    spread = tail / ratio + (1 - 1 / ratio) * left.clamp(min=1).double().log()
    packed = tail + (1 / ratio - 1) * largest
    bounds = (packed, spread) if ratio > 1 else (spread, packed)
    rest = (inside / ratio).logsumexp(-1)
    empty = (tail == -torch.inf) | (left == 0)
    low, high = (x.masked_fill(empty, -torch.inf) for x in bounds)
    return Bounds(low - low.logaddexp(rest), high - high.logaddexp(rest))
