"""What a SparseTeacher may be made of: every refusal names the first row, and why."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdanalysis.core.arguments import fitted

SENTINEL = -1e3  # what stands for "no token" in caches: -1e3, -1e4, -inf
KINDS = ("logprobs", "logits", "sampled")


def kind(kind: str) -> str:
    """Return it; a ValueError where it is none."""
    if kind not in KINDS:
        raise ValueError(f"kind of a SparseTeacher is one of {KINDS}, got {kind!r}")
    return kind


def temperature(temperature: Any) -> float:
    """Return it as a float; a ValueError where it is no positive number."""
    number = fitted("temperature", temperature, float)
    if number <= 0:
        raise ValueError(f"temperature must be a number above 0, got {temperature!r}")
    return number


def vocabulary(vocabulary: Any) -> int | None:
    """Return the number of tokens as an int, or None."""
    return None if vocabulary is None else number("vocabulary", vocabulary)


def number(name: str, value: Any) -> int:
    """Return it as an int; a ValueError where it is no whole number from 1."""
    found = fitted(name, value, int)
    if found < 1:
        raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
    return found


def tensor(name: str, values: Any) -> Tensor:
    """Return a tensor of a tensor or an array, without a graph."""
    if isinstance(values, Tensor):
        return values.detach()
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{name} must be a torch tensor or numpy array, got {_type(values)}")
    try:
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.require(native, requirements="W"))
    except TypeError:
        raise ValueError(f"{name} must hold numbers, got dtype {values.dtype}") from None


def floating(name: str, values: Any) -> Tensor:
    """The same for floating numbers, of float32 at least."""
    given = tensor(name, values)
    if not given.is_floating_point():
        raise ValueError(f"{name} must hold floating numbers, got {given.dtype}")
    return given.to(torch.promote_types(given.dtype, torch.float32))


def tokens(ids: Any, logprobs: Any, vocabulary: int | None) -> tuple[Tensor, Tensor]:
    """Return ids as int32 and log-probabilities, refusing what no row can be."""
    ids, logprobs = integers("ids", ids), floating("logprobs", logprobs)
    if ids.dim() != 2 or ids.shape != logprobs.shape:
        raise ValueError(
            f"need ids and logprobs of one shape (n, K), got {tuple(ids.shape)} and "
            f"{tuple(logprobs.shape)}"
        )
    beyond = torch.iinfo(torch.int32).max if vocabulary is None else vocabulary
    if (row := first((ids < -1) | (ids >= beyond))) is not None:
        bad = ids[row][(ids[row] < -1) | (ids[row] >= beyond)][0]
        raise ValueError(
            f"row {row} holds the id {int(bad)}: need 0 to {beyond - 1} within the vocabulary, or "
            f"-1 where a token is absent"
        )
    bad = (ids >= 0) & (logprobs.isnan() | (logprobs == torch.inf))
    if (row := first(bad)) is not None:
        raise ValueError(
            f"row {row} holds the log-probability {float(logprobs[row][bad[row]][0])} of the token "
            f"{int(ids[row][bad[row]][0])}: need a number"
        )
    ordered = ids.sort(-1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if (row := first(twice)) is not None:
        raise ValueError(
            f"row {row} holds the id {int(ordered[row, 1:][twice[row]][0])} twice: its mass would "
            f"count twice"
        )
    return ids.int(), logprobs.to(ids.device)


def integers(name: str, values: Any) -> Tensor:
    """Return whole numbers as int64."""
    given = tensor(name, values)
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise ValueError(f"{name} must hold whole numbers, got {given.dtype}")
    return given.long()


def rows(ids: Tensor) -> None:
    """Refuse a row without any token."""
    if (row := first((ids < 0).all(-1))) is not None:
        raise ValueError(
            f"row {row} holds no token: nothing is known of the teacher there; leave such rows out"
        )


def log_other(values: Any, logprobs: Tensor) -> Tensor | None:
    """Return the log masses of the rest, which may be -inf."""
    if values is None:
        return None
    found = floating("log_other", values).to(logprobs.device)
    _one_a_row("log_other", found, logprobs)
    if (row := first(~(found <= 0))) is not None:
        raise ValueError(
            f"row {row} has log_other = {float(found[row])}: need the log of a mass, 0 at most"
        )
    return found


def logsumexp(values: Any, logprobs: Tensor) -> dict[float, Tensor] | None:
    """Return the sums by temperature."""
    if values is None:
        return None
    if not isinstance(values, Mapping):
        raise ValueError(f"logsumexp is a dict from temperature to (n,), got {_type(values)}")
    found = {}
    for key, value in values.items():
        name, key = f"logsumexp at T = {key}", temperature(key)
        found[key] = floating(name, value).double().to(logprobs.device)
        _one_a_row(name, found[key], logprobs)
        if (row := first(~found[key].isfinite())) is not None:
            raise ValueError(f"row {row} has the {name} of {float(found[key][row])}: need a number")
    return found


def counts(values: Any, kind: str, ids: Tensor) -> Tensor | None:
    """Return how often every token was drawn, 0 where none stands."""
    if (values is None) == (kind == "sampled"):
        need = "needs counts (n, K) of its draws" if values is None else "has no draws to count"
        raise ValueError(f"a SparseTeacher of the kind {kind!r} {need}")
    if values is None:
        return None
    found = integers("counts", values).to(ids.device)
    if found.shape != ids.shape:
        raise ValueError(f"need counts {tuple(ids.shape)} as the ids, got {tuple(found.shape)}")
    if (row := first((found < 1) & (ids >= 0))) is not None:
        raise ValueError(f"row {row} counts a token that was not drawn: need 1 at least")
    return found.masked_fill(ids < 0, 0)


def logits(logits: Any, k: Any) -> tuple[Tensor, int]:
    """Return a teacher's logits (n, c) and how many to keep of them."""
    found = floating("logits", logits)
    if found.dim() != 2:
        raise ValueError(f"need teacher logits (n, c), got {tuple(found.shape)}")
    if (row := first(~found.isfinite())) is not None:
        raise ValueError(f"teacher logits of row {row} are not all finite: a softmax needs numbers")
    if not number("k", k) <= found.shape[-1]:
        raise ValueError(f"k is {found.shape[-1]} at most, the number of classes, got {k}")
    return found, int(k)


def first(bad: Tensor) -> int | None:
    """Return the first row in which anything is bad."""
    rows = bad.flatten(1).any(-1) if bad.dim() > 1 else bad
    return int(rows.nonzero()[0]) if rows.any() else None


def _one_a_row(name: str, values: Tensor, logprobs: Tensor) -> None:
    if values.shape != logprobs.shape[:1]:
        raise ValueError(
            f"{name} is one number a row, ({len(logprobs)},), got {tuple(values.shape)}"
        )


def _type(values: object) -> str:
    return type(values).__name__
