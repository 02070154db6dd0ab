"""Durable files: a file has its name only once its bytes are on the disk."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

TEMPORARY = ".tmp"
_BINARY = getattr(os, "O_BINARY", 0)
_SLICE = 16 << 20


def commit_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write under a temporary name, fsync, rename, fsync the folder.

    After a return the file survives a power cut; after an error or a sudden death there is either
    the whole file or a temporary one, which ``remove_temporary`` clears.

    Raises:
        OSError: from the disk; the temporary file is removed where that still works.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o644)
        try:
            for chunk in chunks:
                _write_all(descriptor, memoryview(chunk))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def append_line(path: Path, offset: int, line: bytes) -> int:
    """Write a line at ``offset``, cutting off what a failed attempt left there; fsync.

    Returns the offset after the line.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | _BINARY, 0o644)
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
