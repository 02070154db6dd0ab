"""Files of a run: durable commits, nothing written through links, names that stay inside."""

import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from glob import escape
from pathlib import Path
from typing import BinaryIO

from kdanalysis.core.disk import naming

TEMPORARY = ".tmp"
_BINARY, _NO_LINK = getattr(os, "O_BINARY", 0), getattr(os, "O_NOFOLLOW", 0)
_SLICE = 16 << 20
_RUN = re.compile(r"[A-Za-z0-9._-]{1,80}")
_START = re.compile(r"(\d{8}T\d{12})-[0-9a-f]{8}")
_PART = re.compile(r"part-(\d{5,})\.parquet")
_RANK = re.compile(r"rank-(\d{1,9})")
_TIME = "%Y%m%dT%H%M%S%f"


def refuse_link(path: Path) -> None:
    """Raise a ValueError where a link stands in the place of a file or folder to write."""
    if path.is_symlink():
        raise ValueError(f"{path} is a link: nothing is written through it; remove it first")


@contextmanager
def _committed(path: Path) -> Iterator[int]:
    """Give a new file, by its descriptor; it becomes ``path`` when it is on the disk.

    Its name cannot be guessed: nobody can have put a link there.
    """
    refuse_link(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY
    descriptor = os.open(temporary, flags, 0o644)
    try:
        with naming(path):
            try:
                yield descriptor
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def commit_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write under a temporary name, fsync, rename, fsync the folder.

    After a return the file survives a power cut; after an error or a sudden death there is either
    the whole file or a temporary one, which ``remove_temporary`` clears.

    Raises:
        OSError: from the disk; the temporary file is removed where that still works.
        ValueError: where a link has the name.
    """
    with _committed(path) as descriptor:
        for chunk in chunks:
            _write_all(descriptor, memoryview(chunk))


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which appears as ``path`` whole and durable, or not at all.

    The folder is made where it is missing. What a writer of the same file left when it was killed
    goes first.

    Raises:
        OSError, ValueError: as ``commit_file``; or the folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{escape(path.name)}.*{TEMPORARY}"):
        left.unlink(missing_ok=True)
    with _committed(path) as descriptor, os.fdopen(descriptor, "wb", closefd=False) as file:
        yield file


def append_line(path: Path, offset: int, line: bytes) -> int:
    """Write a line at ``offset``, cutting off what a failed attempt left there; fsync.

    Returns the offset after the line; raises as ``commit_file``.
    """
    refuse_link(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | _NO_LINK | _BINARY, 0o644)
    with naming(path):
        try:
            os.ftruncate(descriptor, offset)
            os.lseek(descriptor, offset, os.SEEK_SET)
            _write_all(descriptor, memoryview(line))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if offset == 0:
        sync_folder(path.parent)
    return offset + len(line)


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, each one durable in its own parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; Windows keeps them by itself and cannot open folders."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary(folder: Path) -> None:
    """Delete what an interrupted commit left anywhere below a folder."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def _write_all(descriptor: int, data: memoryview) -> None:
    data = data.cast("B")
    while data:
        data = data[os.write(descriptor, data[:_SLICE]) :]


def run_folder(root: str | Path, name: str | None = None) -> Path:
    """Return ``root / name``, or check the last part of ``root`` as the name when none is given.

    Raises:
        ValueError: for a name outside ``[A-Za-z0-9._-]{1,80}`` or a link that leaves the root.
    """
    if name is None:
        path = Path(root) if Path(root).name not in ("", "..") else Path(root).resolve()
        root, name = path.parent, path.name
    if not _RUN.fullmatch(name) or name in (".", ".."):
        raise ValueError(
            f"{name!r:.120} is no run name: need 1 to 80 letters, digits, '.', '_' or '-', "
            "so that a run stays inside its folder on every system"
        )
    return inside(Path(root), Path(root) / name)


def inside(root: Path, path: Path) -> Path:
    """Return ``path`` when it stays inside ``root`` after following links.

    Raises:
        ValueError: where it leaves the root.
    """
    try:
        stays = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ValueError(f"{path} cannot be followed: {error}") from error
    if not stays:
        raise ValueError(f"{path} leads outside {root}: give the folder itself, not a link to it")
    return path


def new_start(existing: Iterable[str]) -> str:
    """Return a fresh start id, UTC time and random digits, that sorts after the existing ones."""
    times = [datetime.strptime(m[1], _TIME) for e in existing if (m := _START.fullmatch(e))]
    now = datetime.now(UTC).replace(tzinfo=None)
    after = max(times, default=now - timedelta(seconds=1)) + timedelta(microseconds=1)
    return f"{max(now, after).strftime(_TIME)}-{secrets.token_hex(4)}"


def is_start(name: str) -> bool:
    """Say whether a folder name is a start id."""
    return _START.fullmatch(name) is not None


def part_name(number: int) -> str:
    """Name of a part; numbers count from 1."""
    return f"part-{number:05d}.parquet"


def part_number(name: str) -> int | None:
    """Number of a part; None for other names."""
    match = _PART.fullmatch(name)
    return int(match[1]) if match else None


def rank_number(name: str) -> int | None:
    """Rank of a folder named ``rank-N``; None for other names."""
    match = _RANK.fullmatch(name)
    return int(match[1]) if match else None
