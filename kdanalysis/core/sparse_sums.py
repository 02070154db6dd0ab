"""What the known tokens of a SparseTeacher add up to, row by row: refused where it cannot be."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from kdanalysis.core.logits import BASES
from kdanalysis.core.sparse_checks import first
from kdanalysis.core.warn import warn

LEFT, SURE = 0.01, 1e-4  # a tail over the least known token; such a one, far above rounding
FEW = 8  # rows that may have it by chance
SLACK = 0.01  # of a sum of probabilities: half precision and quantised caches round that much
ROUNDED = 2.0**-7  # of a logsumexp beside logits of bfloat16, half of whose last digit that is
LEAST = 0.1  # how far it may be off in any case


def checked(
    kept: Tensor,
    log_other: Tensor | None,
    temperature: float,
    vocabulary: int | None,
    logsumexp: Mapping[float, Tensor] | None,
    kind: str,
) -> dict[str, int]:
    """Return how many rows have "no tail", where that is not known; refuse what cannot be true.

    Args:
        kept: log-probabilities or logits (n, K) at the temperature, -inf where there is none.
        log_other: (n,) of the rest, if known.
        temperature: T.
        vocabulary: number of tokens, if known.
        logsumexp: of all logits, by T.
        kind: of a SparseTeacher.
    """
    wholes(kept, temperature, logsumexp, kind)
    if kind == "logits":
        if are_probabilities(kept):
            warn(
                f"all {len(kept)} rows of these logits lie between 0 and 1 and add up to 1 at "
                f"most, as probabilities do: if they are, give their logarithms"
            )
        return {}
    whole = sums(kept, log_other)
    if kind == "logprobs" and vocabulary is not None:
        warn_of_small(kept, vocabulary)
    return {} if log_other is not None else {"no tail": int((whole >= 1).sum())}


def are_probabilities(kept: Tensor) -> bool:
    """Whether numbers (n, K), -inf where there is none, look like probabilities, not their logs."""
    there = kept.masked_fill(kept.isneginf(), 0)
    return bool((there >= 0).all() and (there.sum(-1) <= 1 + SLACK).all() and there.any())


def sums(kept: Tensor, log_other: Tensor | None) -> Tensor:
    """Return what each row's probabilities add up to; refuse above 1, or off 1 with all the rest.

    Args:
        kept: log-probabilities (n, K), -inf where there is none.
        log_other: (n,) of the rest, if known.
    """
    whole = kept.logsumexp(-1).exp()
    total = whole if log_other is None else whole + log_other.double().exp()
    off = total > 1 + SLACK
    if log_other is not None:
        off |= total < 1 - SLACK
    if (row := first(off)) is not None:
        last = "" if log_other is None else " with log_other"
        hint = "; are they logits (of the kind 'logits')?" if total[row] > 1 else ""
        if are_probabilities(kept):
            hint = "; these look like probabilities: give their logarithms"
        elif log_other is not None and (base := base_of(kept, log_other)):
            hint = f"; as logarithms to base {base} they do: multiply such by ln {base}"
        raise ValueError(
            f"the probabilities of row {row} add up to {float(total[row]):.6g}{last}: need "
            f"{'1 at most' if log_other is None else '1'}{hint}"
        )
    return whole


def base_of(kept: Tensor, log_other: Tensor) -> int | None:
    """Return 2 or 10 where rows add up to 1 as logarithms to that base, None where to neither."""
    parts = torch.cat((kept, log_other.double()[:, None]), -1)
    for base in BASES:
        total = (parts * math.log(base)).logsumexp(-1).exp()
        if ((total - 1).abs() <= SLACK).all():
            return base
    return None


def wholes(
    kept: Tensor, temperature: float, logsumexp: Mapping[float, Tensor] | None, kind: str
) -> None:
    """Refuse a logsumexp that is less than that of the known logits alone.

    Args:
        kept: logits over the temperature, or log-probabilities, -inf where there is none.
        temperature: T.
        logsumexp: of all logits, by T.
        kind: of ``kept``.
    """
    if logsumexp is None or (kind != "logits" and temperature not in logsumexp):
        return
    raw = kept if kind == "logits" else kept + logsumexp[temperature].unsqueeze(-1)
    for t, whole in logsumexp.items():
        known = (raw * (temperature / t)).logsumexp(-1)
        off = (raw.amax(-1).abs() * ROUNDED).clamp(min=LEAST) * max(1.0, temperature / t)
        if (row := first(known - whole > off)) is not None:
            raise ValueError(
                f"row {row} has a logsumexp at T = {t:g} of {float(whole[row]):.6g}, and its known "
                f"tokens alone {float(known[row]):.6g}: need that of all raw logits over T"
            )


def warn_of_small(kept: Tensor, vocabulary: int) -> None:
    """Warn where in most rows no token is as probable as the most probable of all must be.

    Args:
        kept: log-probabilities (n, K), -inf where there is none.
        vocabulary: number of tokens.
    """
    if not kept.numel():
        return
    small = kept.amax(-1) < -math.log(vocabulary) - SLACK
    if 2 * int(small.sum()) > len(kept):
        row = int(small.nonzero()[0])
        warn(
            f"in {int(small.sum())} of {len(kept)} rows no known token has 1 / {vocabulary}, which "
            f"the most probable of all has at least (row {row}: "
            f"{float(kept[row].amax().exp()):.2g} at most): are these log-probabilities, and those "
            f"of the largest tokens?"
        )


def warn_of_renormalised(kept: Tensor, vocabulary: int) -> None:
    """Warn where in most rows next to nothing is left beside known tokens that are far from it.

    The most probable token that is not known is about as probable as the least one that is; a tail
    of less than a hundredth of that is one of probabilities that were divided by their sum.

    Args:
        kept: log-probabilities (n, K) of which the other tokens' mass follows, -inf where none is.
        vocabulary: number of tokens.
    """
    if kept.shape[1] >= vocabulary:
        return
    least = kept.masked_fill(kept.isneginf(), torch.inf).amin(-1).exp()
    tail = 1 - kept.logsumexp(-1).exp()
    whole = (tail.abs() <= LEFT * least) & (least >= SURE) & (kept.isfinite().sum(-1) > 1)
    if int(whole.sum()) > max(len(kept) / 2, FEW):
        row = int(whole.nonzero()[0])
        warn(
            f"in {int(whole.sum())} of {len(kept)} rows the known tokens add up to 1, and the "
            f"least probable of them still has much (row {row}: {float(least[row]):.2g}, and "
            f"{max(float(tail[row]), 0.0):.1g} for all others): were they divided by their sum? "
            f"Then nothing is known of the other tokens, which are taken for impossible"
        )
