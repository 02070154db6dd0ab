"""StoredRun: what is whole in a run folder, as batches of columns."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from kdanalysis.store.info import RunInfo, read_info
from kdanalysis.store.inventory import Block, Part, Start, list_starts
from kdanalysis.store.merge import Stream, check_rows, cut, merge, rebatch
from kdanalysis.store.schema import LAYER_COLUMNS, LAYER_NOISE, REGION_COLUMNS, SAMPLE_COLUMNS

_FEWEST = 256  # rows of a block: fewer cost more in calls than they save in memory


class StoredRun:
    """A run folder, open for reading; a live writer's later parts are not seen.

    Damaged and missing parts are left out and listed in ``skipped``. A row is named by (step,
    sample_id): copies from padded samplers and resumed runs are read once, the newest process
    start first, and counted in ``duplicates``.

    Raises:
        FileNotFoundError: where the folder is no run folder.
        ValueError: where run.json is damaged or from a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.info: RunInfo = read_info(self.path)
        self._samples = list_starts(self.path, "samples")
        self._layers = list_starts(self.path, "layers")
        self._regions = list_starts(self.path, "regions")

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of samples that are whole."""
        return tuple(part.name for part in _all(self._samples) if part.problem is None)

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Parts that are not read, with the reason; samples, layers and regions."""
        parts = _all([*self._samples, *self._layers, *self._regions])
        return [(part.name, part.problem) for part in parts if part.problem is not None]

    @property
    def dropped_rows(self) -> int:
        """Samples that the writers had to leave out, as their records count them."""
        return sum(start.record.dropped_rows for start in self._samples if start.record)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns that every readable part has, ``rank`` included."""
        return _common_columns(self._samples, SAMPLE_COLUMNS)

    @cached_property
    def layer_columns(self) -> tuple[str, ...]:
        """Columns that every readable part of layers has, ``rank`` included; () without parts."""
        return _common_columns(self._layers, (*LAYER_COLUMNS, *LAYER_NOISE))

    @cached_property
    def region_columns(self) -> tuple[str, ...]:
        """Columns that every readable part of regions has, ``rank`` included; () without parts."""
        return _common_columns(self._regions, REGION_COLUMNS)

    @property
    def num_rows(self) -> int:
        """Rows without duplicates."""
        return self._scan[0]

    @property
    def duplicates(self) -> int:
        """Rows left out because (step, sample_id) was there already."""
        return self._scan[1]

    def steps(self) -> Int64[np.ndarray, " s"]:
        """Return the captured steps, ascending."""
        return self._scan[2].copy()

    def dtype(self, column: str) -> np.dtype:
        """Return the dtype in which ``batches`` gives a logits column, whatever the part."""
        parts = [part for part in _all(self._samples) if part.problem is None]
        found = {part.cells[column].dtype for part in parts if column in part.cells}
        return np.result_type(*(d.replace("bfloat16", "float32") for d in found))

    def batches(
        self, columns: Sequence[str], batch_size: int = 4096, rows: range | None = None
    ) -> Iterator[Block]:
        """Yield columns ordered by step, ``batch_size`` rows at a time, the last batch shorter.

        Logits come in their stored dtype, bfloat16 as float32. Memory is bounded by the batch.

        Args:
            columns: names.
            batch_size: rows in a batch.
            rows: consecutive ones of the rows without duplicates; all if not given. Row groups
                that end before their first step are not read.

        Raises:
            ValueError: for a column that a part lacks, and rows that are not there.
            OSError: where a part changes while it is read.
        """
        unknown = [name for name in columns if name not in self.columns]
        if unknown and self.parts:
            raise ValueError(
                f"{self.path} has no column {', '.join(unknown)} in every part: "
                f"it has {', '.join(self.columns)}"
            )
        for batch in rebatch(self._blocks(tuple(columns), batch_size, rows), batch_size):
            yield {name: batch[name] for name in columns}

    def layer_batches(self, batch_size: int = 4096) -> Iterator[Block]:
        """Yield the layers table: step, epoch, layer, term_a, term_b, dot, rank.

        Beside them covariance and count, where ``layer_columns`` has them.
        """
        streams = _streams(self._layers, self.layer_columns, batch_size)
        yield from rebatch((block for block, _ in merge(streams, _layer_key)), batch_size)

    def region_batches(self, columns: Sequence[str], batch_size: int = 256) -> Iterator[Block]:
        """Yield columns of the region logits, ordered by step, without duplicates.

        Region logits (n, c, r) come in their stored dtype, bfloat16 as float32; the scales of
        their regions are ``info.scales``.

        Args:
            columns: some of ``region_columns``.
            batch_size: rows in a batch.
        """
        names = tuple(dict.fromkeys((*columns, "step", "sample_id")))
        streams = _streams(self._regions, names, batch_size)
        blocks = (block for block, _ in merge(streams, _sample_key))
        for batch in rebatch(blocks, batch_size):
            yield {name: batch[name] for name in columns}

    @cached_property
    def _scan(self) -> tuple[int, int, np.ndarray, np.ndarray]:
        """Rows, duplicates, ascending steps, and the rows up to and with each step."""
        duplicates, found = 0, [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        for block, removed in self._merged((), 65536):
            duplicates += removed
            found.append(np.unique(block["step"], return_counts=True))
        each, counts = (np.concatenate(part) for part in zip(*found, strict=True))
        steps, place = np.unique(each, return_inverse=True)
        rows = np.zeros(len(steps), np.int64)
        np.add.at(rows, place, counts)
        return int(rows.sum()), duplicates, steps, rows.cumsum()

    def _blocks(
        self, columns: tuple[str, ...], batch_size: int, rows: range | None
    ) -> Iterator[Block]:
        """Blocks of the rows asked for, from the step of the first one on.

        Rows are told apart by step and sample id, so that no duplicate of theirs stands before.
        """
        if rows is None:
            return (block for block, _ in self._merged(columns, batch_size))
        rows = check_rows(rows, self.num_rows)
        if not rows:
            return iter(())
        _, _, steps, ends = self._scan
        place = int(np.searchsorted(ends, rows.start, side="right"))
        blocks = (block for block, _ in self._merged(columns, batch_size, int(steps[place])))
        return cut(blocks, rows.start - int(ends[place - 1] if place else 0), len(rows))

    def _merged(
        self, columns: tuple[str, ...], batch_size: int, first_step: int | None = None
    ) -> Iterator[tuple[Block, int]]:
        names = tuple(dict.fromkeys((*columns, "step", "sample_id")))
        streams = _streams(self._samples, names, batch_size, first_step)
        return merge(streams, _sample_key)


def _all(starts: Sequence[Start]) -> Iterator[Part]:
    return (part for start in reversed(starts) for part in start.parts)


def _common_columns(starts: Sequence[Start], known: Sequence[str]) -> tuple[str, ...]:
    parts = [part for part in _all(starts) if part.problem is None]
    return tuple(
        name for name in (*known, "rank") if parts and all(name in part.columns for part in parts)
    )


def _streams(
    starts: Sequence[Start], names: Sequence[str], batch_size: int, first_step: int | None = None
) -> list[Stream]:
    size = max(min(_FEWEST, batch_size), batch_size // max(1, len(starts)))
    streams = []
    for start in starts:
        first = next((part for part in start.parts if part.problem is None), None)
        if first is not None:
            streams.append(Stream(first.first_step, _Blocks(start, names, size, first_step)))
    return streams


class _Blocks:
    """Opens the blocks of one start's whole parts."""

    def __init__(
        self, start: Start, names: Sequence[str], size: int, first_step: int | None
    ) -> None:
        self._start, self._names, self._size, self._first_step = start, names, size, first_step

    def __call__(self) -> Iterator[Block]:
        for part in self._start.parts:
            if part.problem is None:
                yield from part.blocks(self._names, self._size, self._first_step)


def _sample_key(block: Block) -> np.ndarray:
    return block["sample_id"]


def _layer_key(block: Block) -> np.ndarray:
    parts = zip(block["rank"], block["layer"], block["term_a"], block["term_b"], strict=True)
    return np.array(["\0".join(map(str, row)) for row in parts], dtype=object)
