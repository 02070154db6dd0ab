"""record.jsonl: the parts a process has acknowledged, and the rows it had to leave out.

One line a committed part, written after the part is durable: ``part, rows, bytes, crc32`` and the
rows dropped so far; a last line says that the writer was closed, or why it stopped. A torn last
line is what a sudden death leaves, and is ignored.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from kdanalysis.store.commit import append_line
from kdanalysis.store.names import part_number

RECORD = "record.jsonl"


class Entry(NamedTuple):
    """What the record says about a part."""

    rows: int
    num_bytes: int
    crc32: int


class Record(NamedTuple):
    """A record as read; ``damage`` names the first line that is no record line."""

    parts: dict[str, Entry]
    dropped_rows: int
    closed: bool
    damage: str | None


class RecordFile:
    """The record of a running process, one durable line at a time."""

    def __init__(self, folder: Path) -> None:
        self._path, self._offset = folder / RECORD, 0

    def append(self, **values: Any) -> None:
        """Add a line; after an OSError the next line takes the place of the failed one."""
        line = json.dumps(values, allow_nan=False).encode() + b"\n"
        self._offset = append_line(self._path, self._offset, line)


def read_record(folder: Path) -> Record | None:
    """Read the record of one start; None where there is none."""
    path = folder / RECORD
    if not path.is_file():
        return None
    *lines, _torn = path.read_bytes().split(b"\n")
    parts, dropped, closed = {}, 0, False
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            if (part := values.get("part")) is not None:
                parts[_name(part)] = Entry(values["rows"], values["bytes"], values["crc32"])
            dropped, closed = int(values["dropped_rows"]), bool(values.get("closed", False))
        except (AttributeError, KeyError, TypeError, ValueError):
            return Record(parts, dropped, False, f"line {number} is damaged")
    return Record(parts, dropped, closed, None)


def _name(part: str) -> str:
    if part_number(part) is None:
        raise ValueError(f"{part} is no part name")
    return part
