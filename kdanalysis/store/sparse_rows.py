"""Rows of a truncated teacher: a few tokens each with their log-probabilities, padded.

Whether they can be true (no token twice, no mass above 1) is held by who makes a teacher of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

ABSENT = -1  # the id of a place without a token; its log-probability is -inf
SENTINEL = -1e3  # at it and below stand fillers: -1e3 and -1e4 of Megatron, -9999 of vLLM, -inf
_PADDING = 64  # times as many places as tokens, at most
_SMALL = 1 << 20  # places that may be padding whatever the tokens are


@dataclass(frozen=True)
class Rows:
    """What a reader found.

    Args:
        ids: of tokens.
        logprobs: natural logarithms, in the type they are stored in.
        more: by name log_other (n,), counts (n, K), target (n,), where the file has them.
        logsumexp: of the raw logits over T, by T.
        vocabulary: what the file says of it, or None.
        temperature: likewise.
    """

    ids: Int[np.ndarray, "n k"]
    logprobs: Float[np.ndarray, "n k"]
    more: Mapping[str, np.ndarray] = field(default_factory=dict)
    logsumexp: Mapping[float, np.ndarray] = field(default_factory=dict)
    vocabulary: int | None = None
    temperature: float | None = None


def padded(
    ids: Int[np.ndarray, " m"],
    logprobs: Float[np.ndarray, " m"],
    lengths: Int[np.ndarray, " n"],
    path: Path,
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Return rows of unequal length as arrays as wide as the longest.

    Args:
        ids: of all rows, one after the other.
        logprobs: likewise.
        lengths: tokens in every row.
        path: for the error.

    Raises:
        ValueError: one row is so long that the others would be padding almost alone.
    """
    width = int(lengths.max(initial=0))
    if len(lengths) * width > max(_SMALL, _PADDING * len(ids)):
        raise ValueError(
            f"{path} has {width:,} tokens in row {int(lengths.argmax()):,} and "
            f"{np.median(lengths):g} in the middle one: need rows of about the same length, for "
            "each is filled up to the longest"
        )
    there = np.arange(width) < lengths[:, None]
    wide = np.full(there.shape, ABSENT, np.int64)
    values = np.full(there.shape, -np.inf, logprobs.dtype)
    wide[there], values[there] = ids, logprobs
    return wide, values


def stacked(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Return blocks of rows as one, the narrower ones filled up."""
    width = max(ids.shape[1] for ids, _ in parts)
    ids, values = zip(*parts, strict=True)
    return _filled(ids, width, ABSENT), _filled(values, width, -np.inf)


def _filled(blocks: Sequence[np.ndarray], width: int, filler: float | int) -> np.ndarray:
    wide = [((0, 0), (0, width - block.shape[1])) for block in blocks]
    return np.concatenate(
        [np.pad(b, w, constant_values=filler) for b, w in zip(blocks, wide, strict=True)]
    )


def without_fillers(rows: Rows) -> tuple[Int[np.ndarray, "n k"], int]:
    """Return the ids, absent where the log-probability is a filler, and how many those were."""
    filler = (rows.ids >= 0) & (rows.logprobs <= SENTINEL)
    return np.where(filler, ABSENT, rows.ids), int(filler.sum())
