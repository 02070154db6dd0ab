"""QueueWriter: one thread between a training loop and the disk."""

import atexit
import os
import threading
import time
import warnings
from queue import SimpleQueue
from typing import Literal

import numpy as np

from kdanalysis.store.kinds import KINDS, find_kind
from kdanalysis.store.schema import Columns
from kdanalysis.store.writer import PartWriter

_COMMIT = ""  # stands in the queue instead of a kind
_LOOK = 0.001  # seconds between two looks for room: a part takes longer to write


class QueueWriter:
    """Hands batches to a writer thread through a bounded queue.

    Arrays belong to the queue once they are put: do not change them afterwards. Memory is bounded
    by ``max_batches`` and what ``PartWriter`` holds. One thread puts.

    Ctrl-C may come at any moment, between any two steps of a call. ``queue.Queue`` and
    ``threading.Event`` take several steps under a lock and may be left half-way, and then wait for
    ever; ``SimpleQueue`` is one step, in C. So is all that the two threads tell each other here.

    Args:
        writer: used by the thread only, and closed with this object.
        max_batches: batches that may wait.
        full: wait for room, or drop the new batch and count its rows in the run's record.
        on_error: "raise" the thread's error at the next put or close; or "warn" there once, count
            everything after it as dropped, and let the training go on.
    """

    def __init__(
        self,
        writer: PartWriter,
        max_batches: int = 8,
        full: Literal["block", "drop"] = "block",
        on_error: Literal["raise", "warn"] = "raise",
    ) -> None:
        if max_batches < 1:
            raise ValueError(f"max_batches is {max_batches}, need at least 1")
        self._writer, self._full, self._on_error = writer, full, on_error
        self._queue: SimpleQueue = SimpleQueue()
        self._ended: SimpleQueue = SimpleQueue()
        self._max_batches = max_batches
        self._error: BaseException | None = None
        self._told = self._closed = self._finished = False
        self._dropped = dict.fromkeys(KINDS, 0)
        self.dropped_rows = 0
        self._thread = threading.Thread(target=self._work, name="kdanalysis-writer", daemon=True)
        self._process = os.getpid()
        self._thread.start()
        atexit.register(self.close)

    def put(self, columns: Columns, dtype: str | None = None, kind: str = "samples") -> bool:
        """Queue a batch of rows of a kind; False where it was dropped.

        Raises:
            OSError, ValueError: the writer thread's error, with ``on_error="raise"``.
        """
        find_kind(kind)
        if self._closed:
            raise ValueError("the queue is closed: open a new writer to add rows")
        self._tell()
        if self._error is None and self._has_room():
            self._queue.put((kind, columns, dtype))
            return True
        self._dropped[kind] += _rows(columns)
        self.dropped_rows = self._dropped["samples"]
        return False

    def flush(self) -> None:
        """Wait until everything put so far is committed.

        Raises:
            OSError, ValueError: the writer thread's error, with ``on_error="raise"``.
        """
        if self._closed:
            return
        done: SimpleQueue = SimpleQueue()
        self._queue.put((_COMMIT, done, None))
        done.get()
        self._tell()

    def close(self) -> None:
        """Write what waits, end the thread, close the writer; twice is harmless.

        One that Ctrl-C ended can be called again, and is when Python ends.

        Raises:
            OSError, ValueError: an error not yet told, with ``on_error="raise"``.
        """
        if os.getpid() != self._process:
            return  # a forked child has no writer thread
        self._closed = True
        self._queue.put(None)  # what comes after the first of them is never read
        if not self._finished:
            self._ended.get()
        self._thread.join()  # alone it would not do: one that Ctrl-C ended never waits again
        atexit.unregister(self.close)
        self._tell()

    def let_go(self) -> None:
        """Have the thread write what waits and end, and wait for nothing, as nobody holds this.

        Garbage is collected between any two steps of any thread, the writer's own among them.
        """
        self._closed = True
        self._queue.put(None)

    def __enter__(self) -> "QueueWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _has_room(self) -> bool:
        while self._queue.qsize() >= self._max_batches:
            if self._full == "drop":
                return False
            time.sleep(_LOOK)
        return True

    def _tell(self) -> None:
        if self._error is None or self._told:
            return
        self._told = True
        if self._on_error == "raise":
            raise self._error
        warnings.warn(
            f"recording into {self._writer.root} stopped, training goes on: {self._error}",
            RuntimeWarning,
            stacklevel=3,
        )

    def _commit(self, done: SimpleQueue) -> None:
        try:
            if self._error is None:
                self._writer.flush()
        except BaseException as error:
            self._error = error
        finally:
            done.put(None)

    def _work(self) -> None:
        lost = dict.fromkeys(KINDS, 0)
        while (item := self._queue.get()) is not None:
            kind, columns, dtype = item
            del item
            if kind == _COMMIT:
                self._commit(columns)
            elif self._error is not None:
                lost[kind] += _rows(columns)
            else:
                lost[kind] += self._write(kind, columns, dtype)
            del columns
        self._finish(lost)

    def _write(self, kind: str, columns: Columns, dtype: str | None) -> int:
        """Write a batch; return how many of its rows were lost to an error, which is kept."""
        before = self._writer.pending(kind)
        try:
            self._writer.write(columns, dtype, kind)
        except BaseException as error:
            self._error = error
            return _rows(columns) - (self._writer.pending(kind) - before)
        return 0

    def _finish(self, lost: dict[str, int]) -> None:
        self._writer.count_dropped({kind: self._dropped[kind] + lost[kind] for kind in KINDS})
        try:
            if isinstance(self._error, OSError):
                self._writer.abandon(str(self._error))
            else:
                self._writer.close()
        except BaseException as error:
            self._error = self._error or error
        self.dropped_rows = self._writer.dropped()
        self._finished = True
        self._ended.put(None)


def _rows(columns: Columns) -> int:
    return len(np.asarray(columns.get("step", ())))
