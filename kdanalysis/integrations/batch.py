"""Targets and sample ids in a batch of somebody else's loader."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

TARGETS, SAMPLE_IDS = ("target", "labels", "label", "y"), ("sample_id", "index")
Unpack = Callable[[Any], tuple[Tensor, Tensor | None]]


def unpack(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Find targets and, where there are any, sample ids in a batch.

    They are the second and the third of (x, target) or (x, target, sample_id), or the entries of a
    mapping named target, labels, label or y, and sample_id or index.

    Raises:
        ValueError: the batch is none of these.
    """
    if isinstance(batch, Mapping):
        targets, ids = ([batch[n] for n in names if n in batch] for names in (TARGETS, SAMPLE_IDS))
        if targets:
            return targets[0], ids[0] if ids else None
    elif isinstance(batch, Sequence) and len(batch) in (2, 3):
        return batch[1], batch[2] if len(batch) == 3 else None
    what = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
    raise ValueError(
        f"found no targets in a batch of {what}: give the callback unpack=, a function "
        f"of the batch that returns targets and sample ids (or None)"
    )
