"""What every file of arrays, and a run folder, offers: names, shapes, and batches of rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from kdanalysis.core.wording import printable
from kdanalysis.store.kinds import KINDS
from kdanalysis.store.reading import listed
from kdanalysis.store.run import StoredRun

UNNAMED = ""  # the key of a file that holds one array without a name
CLASSES = "classes"  # the key of the names of the classes, one text each


def texts(found: object) -> list[str] | None:
    """Return printable names of classes as a list; None where it is no series of texts.

    Bytes are read as UTF-8, as CIFAR's own files and HDF5 hold them.
    """
    found = found.tolist() if hasattr(found, "tolist") else found
    named = isinstance(found, list | tuple) and all(isinstance(one, str | bytes) for one in found)
    if not (named and found):
        return None
    read = [one.decode(errors="replace") if isinstance(one, bytes) else one for one in found]
    return [*map(printable, read)]


class ArrayInfo(NamedTuple):
    """Shape and dtype of an array; the dtype is numpy's name, or "bfloat16"."""

    shape: tuple[int, ...]
    dtype: str


class Table(ABC):
    """A file whose arrays share their first axis; opening it allocates nothing of their size."""

    path: Path
    keys: tuple[str, ...]
    classes: list[str] | None = None
    unread: Mapping[str, str] = MappingProxyType({})  # what is no array, and what it is
    skipped: Sequence[tuple[str, str]] = ()  # parts of a run that cannot be read, with the reason

    @abstractmethod
    def info(self, key: str) -> ArrayInfo:
        """Return shape and dtype, checked against the size of the file.

        Raises:
            ValueError: where the file cannot hold what it claims, or the array is no array of
                numbers.
        """

    @property
    def held(self) -> str:
        """What there is, for an error that misses something."""
        arrays = sorted(key or "one array without a name" for key in self.keys)
        return listed([*arrays, *(f"{name} ({what})" for name, what in self.unread.items())])

    def refuse_lists(self, names: Iterable[str]) -> None:
        """Raise a ValueError where one of these is a list, or a tuple, that is no array."""
        for name in names:
            if (what := self.unread.get(name, "")).startswith(("a list", "a tuple", "a ragged")):
                raise ValueError(
                    f"{self.path} holds {name} as {what}: need plain numbers, one a row of logits"
                )

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


class RunFolder(Table):
    """The rows of one kind in a run, duplicates left out, ordered by step.

    Raises:
        ValueError: where there are none of that kind.
    """

    def __init__(self, path: Path, kind: str = "samples") -> None:
        self.path, self.kind, self.run = path, kind, StoredRun(path)
        self.keys = self.run.columns_of(kind)
        self.classes = self.run.info.classes
        if not self.keys and kind == "samples" and self.run.kind == "tokens":
            raise ValueError(
                f"{path} keeps {self.run.info.kept} classes of every row, not all logits: its "
                f"tables are those of kdanalysis table, or kd.open"
            )
        if not self.keys:
            raise ValueError(f"{path} holds no readable {kind}: see `kdanalysis verify {path}`")

    @property
    def skipped(self) -> Sequence[tuple[str, str]]:
        """Parts of the run that cannot be read; what was read of it is not read again."""
        return self.run.skipped

    def info(self, key: str) -> ArrayInfo:
        """Shape without duplicates, and the dtype that batches have."""
        axes = KINDS[self.kind].columns[key].axes if key != "rank" else ()
        shape = (self.run.count(self.kind), *(self.run.info.sizes[axis] for axis in axes))
        return ArrayInfo(shape, self.run.dtype(key, self.kind).name)

    def batches(
        self, keys: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield rows."""
        yield from self.run.batches(keys, batch_size, rows, self.kind)
