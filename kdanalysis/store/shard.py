"""One shard: the parts that one process writes of one kind, and its record of them.

The record, record.jsonl, has one line a committed part, written after the part is durable:
``part, rows, bytes, crc32`` and the rows dropped so far; a last line says that the writer was
closed, or why it stopped. Every line ends with the checksum of its other bytes. A torn last line is
what a sudden death leaves, and is ignored, but not beside the empty file ``ended``, which is
made after the last line: there the record must be complete.
"""

import json
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from kdanalysis.store.files import append_line, commit_file, part_name, part_number
from kdanalysis.store.folder import make_start
from kdanalysis.store.part import serialise

RECORD, ENDED = "record.jsonl", "ended"
ROWS = 8192  # after so many a part is committed
_LINE = re.compile(rb'(.*), "line_crc32": "([0-9a-f]{8})"}')


class Entry(NamedTuple):
    """What the record says about a part."""

    rows: int
    num_bytes: int
    crc32: int


class Record(NamedTuple):
    """A record as read; ``damage`` names the first line that is no record line.

    ``ended`` where the last line says that the writer was closed, or why it stopped.
    """

    parts: dict[str, Entry]
    dropped_rows: int
    damage: str | None
    ended: bool = False


class Shard:
    """Collects tables of one schema and commits them as numbered parts.

    A part is acknowledged when ``commit`` returns. The folder is made with the first part. After
    an OSError the rows are still here, and the next commit takes them along under the same name.
    """

    def __init__(self, root: Path, kind: str, rank: int, start: str) -> None:
        self._place, self._record_end = (root, kind, rank, start), 0
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
        self._note(
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
            self._note(closed=closed, dropped_rows=self.dropped_rows, **reason)
            commit_file(self.folder / ENDED, [])

    def _open(self) -> None:
        if self.folder is None:
            self.folder = make_start(*self._place)

    def _note(self, **values: Any) -> None:
        """Add a line to the record; after an OSError the next takes the place of the failed one."""
        body = json.dumps(values, allow_nan=False).encode().removesuffix(b"}")
        line = b'%s, "line_crc32": "%08x"}\n' % (body, zlib.crc32(body))
        self._record_end = append_line(self.folder / RECORD, self._record_end, line)


def read_record(folder: Path) -> Record | None:
    """Read the record of one start; None where there is none."""
    path, ended = folder / RECORD, (folder / ENDED).exists()
    if not path.is_file():
        return Record({}, 0, "missing") if ended else None
    *lines, torn = path.read_bytes().split(b"\n")
    parts, dropped, closed = {}, 0, None
    for number, line in enumerate(lines, 1):
        try:
            values = _read_line(line)
            if (part := values.get("part")) is not None:
                parts[_name(part)] = Entry(values["rows"], values["bytes"], values["crc32"])
            dropped, closed = int(values["dropped_rows"]), values.get("closed")
        except (AttributeError, KeyError, TypeError, ValueError):
            return Record(parts, dropped, f"line {number} is damaged")
    cut = ended and (torn or closed is None)
    damage = "truncated: the line of its end is missing" if cut else None
    return Record(parts, dropped, damage, closed is not None)


def _read_line(line: bytes) -> dict[str, Any]:
    found = _LINE.fullmatch(line)
    if found is None or int(found[2], 16) != zlib.crc32(found[1]):
        raise ValueError("it does not fit its checksum")
    return json.loads(found[1] + b"}")


def _name(part: str) -> str:
    if part_number(part) is None:
        raise ValueError(f"{part} is no part name")
    return part
