"""What fits: bytes in memory and on the disk, said or refused before they are needed."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup/memory.max")


def written(size: int | float) -> str:
    """Write a number of bytes in the unit that fits it: 12 kB, 3.4 MB, 5.6 GB."""
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where a path lies, or will lie."""
    path = path.absolute()
    return shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free


def refuse_disk(path: Path, size: int, what: str, way: str) -> None:
    """Raise a ValueError that names the way out, where a disk has no room for what is to come."""
    free = free_bytes(path)
    if size > free:
        raise ValueError(
            f"{what} would write about {written(size)} to {path}, where {written(free)} are free: "
            f"{way}"
        )


def refuse_memory(size: int, what: str, way: str) -> None:
    """Raise a ValueError that names the way out, where numbers exceed this machine's memory."""
    have = memory()
    if size > have:
        raise ValueError(
            f"{what} would take {written(size)} of memory, and this machine has {written(have)}: "
            f"{way}"
        )


def memory() -> float:
    """Return the bytes of memory that this machine, or its container, has; inf where unknown."""
    found = [float("inf")]
    with suppress(AttributeError, ValueError, OSError):
        found.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    with suppress(ValueError, OSError):  # "max" where a container has no limit
        found.append(float(CONTAINER.read_text()))
    return min(found)
