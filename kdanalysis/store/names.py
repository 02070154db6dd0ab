"""Names in a run folder: run names, start ids, part names; and where they may lead."""

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

_RUN = re.compile(r"[A-Za-z0-9._-]{1,80}")
_START = re.compile(r"(\d{8}T\d{12})-[0-9a-f]{8}")
_PART = re.compile(r"part-(\d{5,})\.parquet")
_RANK = re.compile(r"rank-(\d{1,9})")
_TIME = "%Y%m%dT%H%M%S%f"


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
