"""What every file of arrays offers: names, shapes, and batches of rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

UNNAMED = ""  # the key of a file that holds one array without a name


class ArrayInfo(NamedTuple):
    """Shape and dtype of an array; the dtype is numpy's name, or "bfloat16"."""

    shape: tuple[int, ...]
    dtype: str


class Table(ABC):
    """A file whose arrays share their first axis; opening it allocates nothing of their size."""

    path: Path
    keys: tuple[str, ...]
    classes: list[str] | None = None

    @abstractmethod
    def info(self, key: str) -> ArrayInfo:
        """Return shape and dtype, checked against the size of the file.

        Raises:
            ValueError: where the file cannot hold what it claims, or the array is no array of
                numbers.
        """

    @abstractmethod
    def batches(
        self, keys: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield rows of the arrays, exactly ``batch_size`` at a time, the last batch shorter.

        ``rows`` says which ones; the others are not decoded, and not read where the format allows
        it. bfloat16 comes as float32. Memory is bounded by the batch.
        """


class Sliced(Table):
    """A table whose rows can be read from anywhere."""

    @abstractmethod
    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """Return a copy of some rows."""

    def batches(
        self, keys: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield slices."""
        for start in range(rows.start, rows.stop, batch_size):
            stop = min(start + batch_size, rows.stop)
            yield {key: self.rows(key, start, stop) for key in keys}
