"""One shard: the parts that one process writes of one kind."""

from pathlib import Path

import pyarrow as pa

from kdanalysis.store.commit import commit_file
from kdanalysis.store.folder import make_start
from kdanalysis.store.names import part_name
from kdanalysis.store.part import serialise
from kdanalysis.store.record import RecordFile


class Shard:
    """Collects tables of one schema and commits them as numbered parts.

    A part is acknowledged when ``commit`` returns. The folder is made with the first part. After
    an OSError the rows are still here, and the next commit takes them along under the same name.
    """

    def __init__(self, root: Path, kind: str, rank: int, start: str) -> None:
        self._place = (root, kind, rank, start)
        self._record: RecordFile | None = None
        self._tables: list[pa.Table] = []
        self.folder: Path | None = None
        self.num_rows = self.num_bytes = self.committed = 0
        self.dropped_rows = 0

    @property
    def schema(self) -> pa.Schema | None:
        """Schema of the rows in memory; None when there are none."""
        return self._tables[0].schema if self._tables else None

    def add(self, table: pa.Table) -> None:
        """Keep rows for the next part."""
        self._tables.append(table)
        self.num_rows += len(table)
        self.num_bytes += table.nbytes

    def commit(self) -> None:
        """Write the rows in memory as one part, then its line in the record."""
        if not self._tables:
            return
        self._open()
        part = serialise(pa.concat_tables(self._tables))
        name = part_name(self.committed + 1)
        commit_file(self.folder / name, part.chunks)
        self._record.append(
            part=name,
            rows=self.num_rows,
            bytes=part.num_bytes,
            crc32=part.crc32,
            dropped_rows=self.dropped_rows,
        )
        self.committed += 1
        self._tables, self.num_rows, self.num_bytes = [], 0, 0

    def close(self, stopped: str | None = None) -> None:
        """Add the last line: closed, or stopped and why; rows still in memory count as dropped."""
        if self.committed or self.num_rows or self.dropped_rows:
            self._open()
            self.dropped_rows += self.num_rows
            self._tables, self.num_rows, self.num_bytes = [], 0, 0
            reason = {} if stopped is None else {"stopped": stopped}
            closed = stopped is None
            self._record.append(closed=closed, dropped_rows=self.dropped_rows, **reason)

    def _open(self) -> None:
        if self._record is None:
            self.folder = make_start(*self._place)
            self._record = RecordFile(self.folder)
