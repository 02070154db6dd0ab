"""Pooled features that stand beside logits: which of their rows are looked at, and those rows.

What is said of features needs the distances of all pairs of rows. Of more rows than 10 000, or of
wide ones fewer, some are drawn once and for all, every class in proportion.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64

from kdanalysis.core.separation import in_proportion
from kdanalysis.store.sources import Logits

MOST, NUMBERS = 10_000, 2**23  # rows looked at, and numbers of a side in them
LOOK = 65_536  # labels read together
SEED = 0  # of the drawing


class Features:
    """Rows of features that have a label, few enough to be looked at in pairs.

    Args:
        logits: a file with teacher_features or student_features.
    """

    def __init__(self, logits: Logits) -> None:
        self.logits = logits
        self.widths = {
            name.removesuffix("_features"): logits.width(name)
            for name in logits.features
            if name in logits.columns
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """Names: the features, target, and which of the file's rows and of those drawn it is."""
        target = ("target",) if self.logits.has_target else ()
        return (*(f"{side}_features" for side in self.widths), *target, "row", "place")

    @property
    def counts(self) -> tuple[int, ...]:
        """Rows of every class in the file."""
        known = self._target[self._target >= 0]
        return tuple(np.bincount(known, minlength=self.logits.num_classes).tolist())

    @cached_property
    def rows(self) -> Int64[np.ndarray, " m"]:
        """The rows that are looked at, ascending."""
        labelled = np.flatnonzero(self._target >= 0)
        most = min(MOST, NUMBERS // max(self.widths.values()))
        drawn = in_proportion(torch.from_numpy(self._target[labelled]), most, SEED)
        return labelled[drawn.numpy()]

    @cached_property
    def _target(self) -> Int64[np.ndarray, " n"]:
        if not self.logits.has_target:
            return np.full(self.logits.num_rows, -1)
        return np.concatenate([b["target"] for b in self.logits.batches(LOOK, ["target"])])

    def batches(
        self, size: int, columns: Sequence[str], part: range | None
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield columns of the rows looked at.

        Args:
            size: rows of the file read together.
            columns: names.
            part: places among the rows looked at; all if None.
        """
        part = range(len(self.rows)) if part is None else part
        if not part:
            return
        rows = self.rows[part.start : part.stop]
        stored = [name for name in columns if name in self.logits.columns]
        start = int(rows[0])
        for batch in self.logits.batches(size, stored, range(start, int(rows[-1]) + 1)):
            count = len(next(iter(batch.values())))
            first, last = np.searchsorted(rows, (start, start + count))
            here = rows[first:last]
            if len(here):
                found = {name: values[here - start] for name, values in batch.items()}
                yield {**found, "row": here, "place": part.start + np.arange(first, last)}
            start += count
