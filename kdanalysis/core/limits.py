"""What fits: rows and bytes in memory and on the disk, said or refused before they are needed.

What is to come and is much is said at the level INFO of the logger ``kdanalysis``, which commands
show on stderr; Python shows it where ``logging.basicConfig(level="INFO")`` was called.
"""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup/memory.max")
LOGGER = logging.getLogger("kdanalysis")
MUCH = 1e8  # bytes from which on they are announced


def written(size: int | float) -> str:
    """Write a number of bytes in the unit that fits it: 12 kB, 3.4 MB, 5.6 GB."""
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where a path lies, or will lie."""
    path = path.absolute()
    return shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free


def announce_disk(path: Path, size: int, what: str, way: str) -> None:
    """Say what will be written to a path and what is free there, where it is much.

    Raises:
        ValueError: it has no room; ``way`` says how it would.
    """
    free = free_bytes(path)
    said = (
        f"{what} would write about {written(size)} to {path.name}, where {written(free)} are free"
    )
    if size > free:
        raise ValueError(f"{said}: {way}")
    if size >= MUCH:
        LOGGER.info(said.replace(" would write ", " will write ", 1))


def announce_memory(size: int, what: str, way: str, much: bool = False) -> None:
    """Say what numbers will take, where it is much, or where the caller knows it to be.

    Raises:
        ValueError: it is more than this machine has; ``way`` says how it would fit.
    """
    have = memory()
    said = f"{what} would take about {written(size)} of memory"
    if size > have:
        raise ValueError(f"{said}, and this machine has {written(have)}: {way}")
    if much or size >= MUCH:
        LOGGER.info(said.replace(" would take ", " will take ", 1))


def memory() -> float:
    """Return the bytes of memory that this machine, or its container, has; inf where unknown."""
    found = [float("inf")]
    with suppress(AttributeError, ValueError, OSError):
        found.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    with suppress(ValueError, OSError):  # "max" where a container has no limit
        found.append(float(CONTAINER.read_text()))
    return min(found)
