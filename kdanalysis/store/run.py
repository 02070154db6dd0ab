"""StoredRun: what is whole in a run folder, as batches of columns."""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from kdanalysis.core.arguments import typed
from kdanalysis.store.info import RunInfo, read_info
from kdanalysis.store.inventory import Block, Part, Start, list_starts
from kdanalysis.store.kinds import KINDS, find_kind
from kdanalysis.store.merge import Key, Stream, check_rows, cut, merge, rebatch

_MANY = 2**16  # rows of a block at most, where no one asks for more
_FEWEST = 256  # rows of a block: fewer cost more in calls than they save in memory


class _Scan(NamedTuple):
    """What one pass over the steps of a kind finds."""

    num_rows: int
    duplicates: int
    steps: Int64[np.ndarray, " s"]  # ascending
    ends: Int64[np.ndarray, " s"]  # rows up to and with each step


class StoredRun:
    """A run folder, open for reading; a live writer's later parts are not seen.

    It holds rows of several kinds (see ``kinds``), samples above all. Damaged and missing parts
    are left out and listed in ``skipped``; every part is checked once, whatever is read of it. A
    row is named by its step and key, a sample by (step, sample_id): copies from padded samplers
    and resumed runs are read once, the newest process start first, and counted in ``duplicates``.

    Raises:
        FileNotFoundError: where the folder is no run folder.
        ValueError: where run.json is damaged or from a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.info: RunInfo = read_info(self.path)
        self._starts = {kind: list_starts(self.path, kind) for kind in KINDS}
        self._scans: dict[str, _Scan] = {}

    @cached_property
    def kind(self) -> str:
        """What its rows are: "samples", or "tokens" where a few classes of each were kept."""
        return "tokens" if self._whole("tokens") and not self._whole("samples") else "samples"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of samples that are whole."""
        return tuple(part.name for part in self._whole(self.kind))

    @cached_property
    def skipped(self) -> list[tuple[str, str]]:
        """Parts of any kind that are not read, with the reason."""
        parts = [part for starts in self._starts.values() for part in _all(starts)]
        return [(part.name, part.problem) for part in parts if part.problem is not None]

    @property
    def dropped_rows(self) -> int:
        """Samples that the writers had to leave out, as their records count them."""
        starts = self._starts[self.kind]
        return sum(start.record.dropped_rows for start in starts if start.record)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the samples; see ``columns_of``."""
        return self.columns_of(self.kind)

    @typed
    def columns_of(self, kind: str) -> tuple[str, ...]:
        """Return the columns that every readable part of a kind has, ``rank`` included.

        Of those that only some rows have one part is enough. There are none where the run holds no
        rows of that kind.
        """
        columns, parts = find_kind(kind).columns, self._whole(kind)
        enough = {name: any if column.some else all for name, column in columns.items()}
        enough["rank"] = all
        return tuple(
            name
            for name, which in enough.items()
            if parts and which(name in part.columns for part in parts)
        )

    @property
    def num_rows(self) -> int:
        """Samples without duplicates."""
        return self.count(self.kind)

    @typed
    def count(self, kind: str) -> int:
        """Return the rows of a kind without duplicates."""
        return self._scan(kind).num_rows

    @property
    def duplicates(self) -> int:
        """Samples left out because (step, sample_id) was there already."""
        return self._scan(self.kind).duplicates

    @typed
    def steps(self, kind: str | None = None) -> Int64[np.ndarray, " s"]:
        """Return the steps that a kind, its own if None, was recorded at, ascending."""
        return self._scan(kind or self.kind).steps.copy()

    @typed
    def dtype(self, column: str, kind: str | None = None) -> np.dtype:
        """Return the dtype in which ``batches`` gives a column, whatever the part.

        Raises:
            ValueError: no such column, or no such kind.
        """
        kind = kind or self.kind
        if column not in (known := (*find_kind(kind).columns, "rank")):
            raise ValueError(f"there is no column {column!r} of {kind}: need {', '.join(known)}")
        if column == "rank":
            return np.dtype(np.int32)
        parts = self._whole(kind)
        found = {part.cells[column].dtype for part in parts if column in part.cells}
        if found:
            return np.result_type(*(d.replace("bfloat16", "float32") for d in found))
        return np.dtype(find_kind(kind).columns[column].type.to_pandas_dtype())

    @typed
    def batches(
        self,
        columns: Sequence[str] | None = None,
        batch_size: int = 4096,
        rows: range | None = None,
        kind: str | None = None,
    ) -> Iterator[Block]:
        """Yield columns ordered by step, ``batch_size`` rows at a time, the last batch shorter.

        Cells, such as logits (n, c) and region logits (n, c, r), come in their stored dtype,
        bfloat16 as float32; rows of NaN where only some rows have one. Memory is bounded by the
        batch.

        Args:
            columns: some of ``columns_of(kind)``; all if None.
            batch_size: rows in a batch.
            rows: consecutive ones of the rows without duplicates; all if not given. Row groups
                that end before their first step are not read.
            kind: what the rows are of; the run's own if None.

        Raises:
            ValueError: for a column that a part lacks, and rows that are not there.
            OSError: where a part changes while it is read.
        """
        kind = kind or self.kind
        there = self.columns_of(kind)
        columns = there if columns is None else columns
        unknown = [name for name in columns if name not in there]
        if unknown and there:
            raise ValueError(
                f"{self.path} has no column {', '.join(unknown)} in every part: "
                f"it has {', '.join(there)}"
            )
        if batch_size < 1:
            raise ValueError(f"batches need at least one row, got batch_size={batch_size}")
        if batch_size > _MANY:
            batch_size = min(batch_size, self.count(kind) or 1)
        for batch in rebatch(self._blocks(kind, tuple(columns), batch_size, rows), batch_size):
            yield {name: batch[name] for name in columns}

    def _whole(self, kind: str) -> list[Part]:
        find_kind(kind)
        return [part for part in _all(self._starts[kind]) if part.problem is None]

    def _scan(self, kind: str) -> _Scan:
        if kind not in self._scans:
            duplicates, found = 0, [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
            for block, removed in self._merged(kind, (), _MANY):
                duplicates += removed
                found.append(np.unique(block["step"], return_counts=True))
            each, counts = (np.concatenate(part) for part in zip(*found, strict=True))
            steps, place = np.unique(each, return_inverse=True)
            rows = np.zeros(len(steps), np.int64)
            np.add.at(rows, place, counts)
            self._scans[kind] = _Scan(int(rows.sum()), duplicates, steps, rows.cumsum())
        return self._scans[kind]

    def _blocks(
        self, kind: str, columns: tuple[str, ...], batch_size: int, rows: range | None
    ) -> Iterator[Block]:
        """Blocks of the rows asked for, from the step of the first one on.

        Rows are told apart by step and key, so that no duplicate of theirs stands before.
        """
        if rows is None:
            return (block for block, _ in self._merged(kind, columns, batch_size))
        num_rows, _, steps, ends = self._scan(kind)
        rows = check_rows(rows, num_rows)
        if not rows:
            return iter(())
        place = int(np.searchsorted(ends, rows.start, side="right"))
        blocks = (b for b, _ in self._merged(kind, columns, batch_size, int(steps[place])))
        return cut(blocks, rows.start - int(ends[place - 1] if place else 0), len(rows))

    def _merged(
        self, kind: str, columns: tuple[str, ...], batch_size: int, first_step: int | None = None
    ) -> Iterator[tuple[Block, int]]:
        key = find_kind(kind).key
        names = tuple(dict.fromkeys((*columns, "step", *key)))
        streams = _streams(self._starts[kind], names, batch_size, first_step)
        return merge(streams, _sortable(key))


def _sortable(key: Sequence[str]) -> Key:
    """One value a row: a column, or the texts of several joined."""

    def value(block: Block) -> np.ndarray:
        if len(key) == 1:
            return block[key[0]]
        parts = zip(*(block[name] for name in key), strict=True)
        return np.array(["\0".join(map(str, row)) for row in parts], dtype=object)

    return value


def _all(starts: Sequence[Start]) -> Iterator[Part]:
    return (part for start in reversed(starts) for part in start.parts)


def _streams(
    starts: Sequence[Start], names: Sequence[str], batch_size: int, first_step: int | None = None
) -> list[Stream]:
    size = max(min(_FEWEST, batch_size), batch_size // max(1, len(starts)))
    streams = []
    for start in starts:
        first = next((part for part in start.parts if part.problem is None), None)
        if first is not None:
            streams.append(
                Stream(first.first_step, partial(_blocks_of, start, names, size, first_step))
            )
    return streams


def _blocks_of(
    start: Start, names: Sequence[str], size: int, first_step: int | None
) -> Iterator[Block]:
    """Blocks of one start's whole parts."""
    for part in start.parts:
        if part.problem is None:
            yield from part.blocks(names, size, first_step)
