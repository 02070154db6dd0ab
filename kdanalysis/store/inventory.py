"""What a run folder holds and what it should hold: parts on the disk and parts in the records."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdanalysis.store.files import inside, is_start, part_name, part_number, rank_number
from kdanalysis.store.footer import Chunk, Page, read_pages
from kdanalysis.store.info import RUN_JSON, read_info
from kdanalysis.store.kinds import KINDS
from kdanalysis.store.part import checksum, open_parquet
from kdanalysis.store.reading import cause
from kdanalysis.store.schema import Cells, as_cells, decode, read_cells
from kdanalysis.store.shard import RECORD, ROWS, Entry, Record, read_record
from kdanalysis.store.straight import Straight, plain_pages

Block = dict[str, np.ndarray]


class Finding(NamedTuple):
    """Something that is not as it was written."""

    part: str  # path inside the run folder
    problem: str


class Part:
    """A part that is on the disk, in a record, or missing between two others."""

    def __init__(self, root: Path, path: Path, rank: int, entry: Entry | None) -> None:
        self.root, self.path, self.rank, self.entry = root, path, rank, entry

    @property
    def name(self) -> str:
        """Path inside the run folder."""
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def state(self) -> tuple[int, ...]:
        """What the system says of the file, as it was when the part was first looked at."""
        return self._state_now()

    def _state_now(self) -> tuple[int, ...]:
        found = self.path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    @cached_property
    def problem(self) -> str | None:
        """Why the part cannot be read; None where every byte is as written. Checked once."""
        try:
            inside(self.root, self.path)
            self.state  # noqa: B018
            crc = checksum(self.path)
            if self.entry is not None and crc != self.entry.crc32:
                raise ValueError("replaced: it is whole, but not the part that was recorded")
            self._groups  # noqa: B018
            with self.file() as file:
                read_cells(file.schema_arrow)
        except FileNotFoundError:
            return "missing"
        except Exception as error:  # whatever a library says of bytes that it cannot read
            return cause(error)
        return None

    @cached_property
    def _groups(self) -> list[list[tuple[Chunk, list[Page]]]]:
        return read_pages(self.path)

    def file(self) -> pq.ParquetFile:
        """Open the part, whose checksum is verified by ``problem``."""
        return open_parquet(self.path, pages=False)

    @cached_property
    def cells(self) -> dict[str, Cells]:
        """Logits columns."""
        with self.file() as file:
            return read_cells(file.schema_arrow) or {}

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Stored columns, and the rank from the folder's name."""
        with self.file() as file:
            return (*file.schema_arrow.names, "rank")

    @cached_property
    def num_rows(self) -> int:
        """Rows as the footer counts them."""
        with self.file() as file:
            return file.metadata.num_rows

    @cached_property
    def first_step(self) -> int:
        """Step of the first row."""
        return int(next(self.blocks(["step"], 1))["step"][0])

    def blocks(
        self, names: Sequence[str], batch_size: int, first_step: int | None = None
    ) -> Iterator[Block]:
        """Stream columns of a part that has been checked.

        Rows before ``first_step`` are left out, and row groups of such rows are not read.

        Raises:
            OSError: where the part changes while it is read; the message names it.
        """
        stored = [name for name in names if name in self.columns and name != "rank"]
        lacking = [name for name in names if name not in self.columns]
        try:
            with self.file() as file, self.path.open("rb", buffering=0) as raw:
                widths = {
                    name: self.cells[name].width
                    for name in stored
                    if name in self.cells and not file.schema_arrow.field(name).nullable
                }
                numbers, pages = None, {}
                if widths or first_step is not None:
                    numbers = [n for n, x in enumerate(self._groups) if _reaches(x, first_step)]
                    pages = plain_pages([self._groups[n] for n in numbers], widths)
                others = [name for name in stored if name not in pages]
                cells = {name: Straight(raw, pages[name], widths[name]) for name in pages}
                for batch in file.iter_batches(batch_size, columns=others, row_groups=numbers):
                    if first_step is not None:
                        first = int(np.searchsorted(decode(batch["step"], None), first_step))
                        batch = batch.slice(first)
                        for column in cells.values():
                            column.skip(first)
                    block = {name: decode(batch[name], self.cells.get(name)) for name in others}
                    for name, column in cells.items():
                        block[name] = as_cells(column.take(len(batch)), self.cells[name])
                    if self._state_now() != self.state:
                        raise OSError("it has another time or size than when it was checked")
                    ranks = np.full(len(batch), self.rank, np.int32)
                    block |= {"rank": ranks} if "rank" in names else {}
                    yield block | {name: self._nothing(len(batch)) for name in lacking}
        except (OSError, ValueError, pa.ArrowException) as error:
            raise OSError(f"{self.name} changed while it was read: {error}") from error

    def _nothing(self, count: int) -> np.ndarray:
        """Rows of NaN, of a column that none of the part's rows has: its cells share one shape."""
        shape = next(iter(self.cells.values())).shape
        return np.full((count, *shape), np.nan, np.float16)


def _reaches(group: Sequence[tuple[Chunk, list[Page]]], step: int | None) -> bool:
    """Whether a row group may hold rows of a step or later, by the largest that is stated."""
    stated = next((chunk.largest for chunk, _ in group if chunk.name == "step"), None)
    if step is None or stated is None:
        return True
    return int.from_bytes(stated, "little", signed=True) >= step


class Start:
    """The parts of one process start, in order, with its record."""

    def __init__(self, root: Path, folder: Path, rank: int) -> None:
        self.root, self.folder, self.rank = root, folder, rank
        self.record: Record | None = read_record(folder)
        self.parts = [self._part(number) for number in range(1, self._last_number() + 1)]

    @property
    def record_problem(self) -> str | None:
        """What is wrong with the record; one part may lack its line after a sudden death."""
        if self.record is not None and self.record.damage is not None:
            return self.record.damage
        recorded = 0 if self.record is None else len(self.record.parts)
        found = sum(part.path.exists() for part in self.parts)
        return f"lists {recorded} of {found} parts" if found > recorded + 1 else None

    def _last_number(self) -> int:
        recorded = self.record.parts if self.record else ()
        names = [*recorded, *(path.name for path in self.folder.iterdir())]
        return max((part_number(name) or 0 for name in names), default=0)

    def _part(self, number: int) -> Part:
        path = self.folder / part_name(number)
        entry = self.record.parts.get(path.name) if self.record else None
        return Part(self.root, path, self.rank, entry)


def list_starts(root: Path, kind: str) -> list[Start]:
    """Return all starts of a kind, the newest first, so that a later row supersedes an earlier."""
    folders = [
        (path.name, -rank, path)
        for rank_folder in (root / kind).glob("rank-*")
        if (rank := rank_number(rank_folder.name)) is not None
        for path in rank_folder.iterdir()
        if is_start(path.name) and path.is_dir()
    ]
    return [Start(root, path, -rank) for _, rank, path in sorted(folders, reverse=True)]


def unclosed(path: Path) -> str | None:
    """Say which ranks did not close a run and what may be lacking; None where all did.

    The last start of a rank counts: what went on with a run knows what it went on from.
    """
    last = {
        (kind, start.rank): start for kind in KINDS for start in reversed(list_starts(path, kind))
    }
    open_ranks = {one.rank for one in last.values() if one.record is None or not one.record.ended}
    if last and not open_ranks:
        return None
    who = f"rank {', '.join(map(str, sorted(open_ranks)))}" if last else "what wrote this run"
    return (
        f"{who} is still recording, or ended without close(): rows since its last part, up to "
        f"{ROWS:,} or 64 MiB, are not here"
    )


def verify(path: str | Path) -> list[Finding]:
    """Read every byte of a run and name truncated, altered, replaced and missing parts.

    So it does with run.json and the records. An empty list says that everything acknowledged by a
    writer is there, bit for bit.

    Raises:
        FileNotFoundError: where the folder is no run folder.
    """
    root, findings = Path(path), []
    try:
        read_info(root)
    except ValueError as error:
        findings.append(Finding(RUN_JSON, str(error)))
    for start in (start for kind in KINDS for start in list_starts(root, kind)):
        if start.record_problem is not None:
            record = (start.folder / RECORD).relative_to(root).as_posix()
            findings.append(Finding(record, start.record_problem))
        found = ((part.name, part.problem) for part in start.parts)
        findings += [Finding(name, problem) for name, problem in found if problem is not None]
    return sorted(findings)
