"""The largest tokens of a row and the mass of its others, also at another temperature."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.largest import largest


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


def kept(logits: Tensor, k: int, temperatures: Sequence[float]) -> tuple[Tensor, ...]:
    """Ids, log-probabilities and log rest at the first temperature, logsumexp at each."""
    ids = largest(logits, k) if k < logits.shape[-1] else logits.argsort(-1, descending=True)
    logits = logits.double()
    top, others = logits.gather(-1, ids), logits.scatter(-1, ids, -torch.inf)
    peak = others.amax(-1, keepdim=True).clamp(min=torch.finfo(torch.double).min)
    others -= peak  # less their own largest, so that none that matters underflows
    rest = [(others / t).exp_().sum(-1).log() + peak.squeeze(-1) / t for t in temperatures]
    known = [(top / t).logsumexp(-1) for t in temperatures]
    whole = [one.logaddexp(two) for one, two in zip(known, rest, strict=True)]
    logprobs = top / temperatures[0] - whole[0].unsqueeze(-1)
    return ids.int(), logprobs, rest[0] - whole[0], *whole
