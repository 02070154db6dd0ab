"""Rows of two files brought together by their ids."""

import tempfile
import weakref
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from kdanalysis.store.columns import Place
from kdanalysis.store.formats.table import ArrayInfo, Sliced, Table
from kdanalysis.store.reading import reading

_ROWS = 4096


class Reordered(Sliced):
    """A file with its rows in another order; a column lies on the disk once more while it is read.

    Args:
        table: the file.
        order: row i of this one is row ``order[i]`` of the file.
    """

    def __init__(self, table: Table, order: Int64[np.ndarray, " n"]) -> None:
        self.path, self.keys, self.classes = table.path, table.keys, table.classes
        self.skipped, self.unread = table.skipped, table.unread
        self._table, self._order = table, order
        self._copies: dict[str, tuple] = {}

    def info(self, key: str) -> ArrayInfo:
        """Shape and dtype, which the order does not change."""
        return self._table.info(key)

    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """Copy rows out of a map of the copy, which goes at once."""
        if key not in self._copies:
            self._copies[key] = self._copy(key)
        file, dtype, shape = self._copies[key]
        return np.array(np.memmap(file, dtype, "r", shape=shape)[self._order[start:stop]])

    def _copy(self, key: str) -> tuple:
        file, shape = tempfile.TemporaryFile(), self.info(key).shape  # noqa: SIM115
        weakref.finalize(self, file.close)
        for batch in self._table.batches([key], _ROWS, range(shape[0])):
            values = np.ascontiguousarray(batch[key])
            file.write(values)
        file.flush()
        return file, values.dtype, shape


def joined(first: Place | None, second: Table, key: str | None) -> tuple[Table, str]:
    """Return the second file with its rows in the order of the first, and a sentence on it.

    Args:
        first: where the ids of the first file are; None where it has none.
        second: the other file.
        key: the name of its ids; None where it has none.

    Raises:
        ValueError: ids that one file has and the other lacks, or that stand in a file twice where
            the order of the two differs.
    """
    if first is None or key is None:
        without = [
            name for name, ids in (("the first file", first), (second.path.name, key)) if not ids
        ]
        lacking = "the files have" if len(without) == 2 else f"{without[0]} has"
        return second, f"rows of {second.path.name} taken in their order: {lacking} no sample_id"
    sentence = f"rows of {second.path.name} joined by sample_id"
    ours, theirs = _ids(*first), _ids(second, key)
    if np.array_equal(ours, theirs):
        return second, sentence
    paths = first[0].path, second.path
    for path, ids in zip(paths, (ours, theirs), strict=True):
        _refuse_twice(path, ids)
    for path, there, other in ((paths[1], ours, theirs), (paths[0], theirs, ours)):
        if len(missing := np.setdiff1d(there, other)):
            raise ValueError(
                f"{path} lacks {len(missing):,} of the {len(there):,} samples of the other file, "
                f"sample_id {missing[0]} among them: rows are joined by sample_id, so both need "
                f"the same samples"
            )
    by_id = np.argsort(theirs)
    return Reordered(second, by_id[np.searchsorted(theirs, ours, sorter=by_id)]), sentence


def _ids(table: Table, key: str) -> Int64[np.ndarray, " n"]:
    with reading(table.path):
        shape, dtype = table.info(key)
        if len(shape) != 1 or not dtype.startswith(("int", "uint")):
            raise ValueError(
                f"sample_id of {table.path} is {dtype} {shape}, need a row of integers"
            )
        parts = [b[key].astype(np.int64) for b in table.batches([key], _ROWS, range(shape[0]))]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _refuse_twice(path: Path, ids: Int64[np.ndarray, " n"]) -> None:
    found, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        twice = counts > 1
        raise ValueError(
            f"{path} has {twice.sum():,} sample_id more than once, {found[twice][0]} among them: "
            f"rows cannot be joined by it"
        )
