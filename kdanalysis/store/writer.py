"""PartWriter: one rank of a run, from batches to committed parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from kdanalysis.store.files import new_start, run_folder
from kdanalysis.store.folder import Existing, prepare, refuse_foreign, start_ids
from kdanalysis.store.info import RunInfo
from kdanalysis.store.kinds import KINDS, find_kind
from kdanalysis.store.lock import RankLock
from kdanalysis.store.schema import Columns, encode, filled
from kdanalysis.store.shard import ROWS, Shard

FloatDtype = Literal["float16", "float32", "float64", "bfloat16", "same"]
_PART_BYTES = 64 << 20


class PartWriter:
    """Appends batches and commits a part when it is full.

    A batch is never cut in two, so a step is on the disk whole or not at all. After ``flush``
    returns, everything written so far survives a kill and a power cut. Memory is bounded by one
    part, at most 64 MiB and a batch.

    Args:
        root: the run folder; its last part is the run's name.
        rank: number of this process; each rank writes its own folder.
        info: written as run.json by rank 0.
        float_dtype: how logits are stored; "same" keeps the dtype they come in.
        rows_per_part: rows after which a part is committed.
        existing: what to do where the folder already holds a run: refuse, delete its rows, or add
            to it (a folder without a run is simply started).

    Raises:
        BlockingIOError: where a live writer holds this rank; the message names it.
        FileExistsError: where there is a run already, or a folder that is no run folder.
        ValueError: for a bad run name, or a run that cannot be resumed with this info.
    """

    def __init__(
        self,
        root: str | Path,
        rank: int,
        info: RunInfo,
        float_dtype: FloatDtype = "float16",
        rows_per_part: int = ROWS,
        *,
        existing: Existing = "error",
    ) -> None:
        if rank < 0 or rows_per_part < 1:
            raise ValueError(f"got rank {rank}, {rows_per_part} rows a part: need >= 0 and >= 1")
        self.root, self.rank, self.info = run_folder(root), rank, info
        self.float_dtype, self.rows_per_part = float_dtype, rows_per_part
        refuse_foreign(self.root)
        self._lock = RankLock(self.root, rank)
        try:
            prepare(self.root, rank, info, existing)
            self.start = new_start(start_ids(self.root))
        except BaseException:
            self._lock.release()
            raise
        self._shards = {kind: Shard(self.root, kind, rank, self.start) for kind in KINDS}
        self._last_step: dict[str, int] = {}
        self._closed = False

    def pending(self, kind: str = "samples") -> int:
        """Rows of a kind in memory, not yet safe."""
        return self._shards[kind].num_rows

    def dropped(self, kind: str = "samples") -> int:
        """Rows of a kind that were not and will not be written."""
        return self._shards[kind].dropped_rows

    def write(self, columns: Columns, dtype: str | None = None, kind: str = "samples") -> None:
        """Append a batch of rows of a kind (copied); see ``encode`` for columns and ``dtype``.

        Raises:
            ValueError: for columns the contract does not know, values out of range, or a step
                that goes back.
            OSError: where a full part cannot be committed; its rows stay in memory.
        """
        if self._closed:
            raise ValueError(f"the writer of {self.root} is closed: open a new one to add rows")
        find_kind(kind)  # refuses an unknown one
        shard = self._shards[kind]
        columns = filled(kind, columns, shard.schema)
        table = encode(kind, columns, self.info.sizes, self.float_dtype, dtype)
        if not len(table):
            return
        self._check_steps(kind, np.asarray(columns["step"]))
        if shard.schema is not None and shard.schema != table.schema:
            shard.commit()
        shard.add(table)
        if shard.num_rows >= self.rows_per_part or shard.num_bytes >= _PART_BYTES:
            shard.commit()

    def count_dropped(self, rows: Mapping[str, int]) -> None:
        """Note rows, by kind, that were never written; the records keep the sums."""
        for kind, count in rows.items():
            self._shards[kind].dropped_rows += count

    def flush(self) -> None:
        """Commit what is in memory, full or not."""
        for shard in self._shards.values():
            shard.commit()

    def close(self) -> None:
        """Commit the rest, mark the record as closed, release the rank; twice is harmless."""
        if self._closed:
            return
        try:
            self.flush()
            for shard in self._shards.values():
                shard.close()
        finally:
            self._let_go()

    def abandon(self, reason: str) -> None:
        """Stop without writing what is in memory; the record says why, if the disk still takes it.

        Raises:
            OSError: where it does not; the rank is released all the same.
        """
        if self._closed:
            return
        try:
            for shard in self._shards.values():
                shard.close(stopped=reason)
        finally:
            self._let_go()

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _check_steps(self, kind: str, step: np.ndarray) -> None:
        before = self._last_step.get(kind, step[0])
        if (np.diff(step, prepend=before) < 0).any():
            raise ValueError(
                f"step goes back after {before}: give the global step, which never falls, "
                f"because (step, {', '.join(KINDS[kind].key)}) names a row"
            )
        self._last_step[kind] = int(step[-1])

    def _let_go(self) -> None:
        self._closed = True
        self._lock.release()
