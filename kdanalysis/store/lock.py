"""One live writer a rank of a run."""

import contextlib
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import filelock

from kdanalysis.store.files import make_folder, refuse_link, whole_file

LOCKS = "locks"
_PATIENCE = 0.5  # seconds: a killed process may need a moment to let go


class RankLock:
    """Held from creation to ``release``.

    Raises:
        BlockingIOError: within a second, where another writer, in this process or another one,
            holds the rank.
        ValueError: where a link has the name of one of its files.
    """

    def __init__(self, root: Path, rank: int, patience: float = _PATIENCE) -> None:
        folder = root / LOCKS
        self._holder, locked = folder / f"rank-{rank}.json", folder / f"rank-{rank}.lock"
        for path in (folder, self._holder, locked):
            refuse_link(path)
        make_folder(folder)
        self._lock = filelock.FileLock(
            locked,
            timeout=patience,
            thread_local=False,  # a writer thread releases what the training thread acquired
        )
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise BlockingIOError(
                f"rank {rank} of {root} is being written by {self._describe()}: "
                "close that writer first, or give this one a run folder of its own"
            ) from None
        try:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            me = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
            with whole_file(self._holder) as file:
                file.write(json.dumps(me).encode())
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Let the rank go; twice is harmless."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                self._holder.unlink(missing_ok=True)
            self._lock.release()

    def _describe(self) -> str:
        try:
            holder = json.loads(self._holder.read_bytes())
            here = (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
            who = f"{'this very ' if here else ''}process {holder['pid']} on {holder['host']}"
            return f"{who} since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "a process that did not leave its name"
