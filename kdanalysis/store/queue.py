"""QueueWriter: one thread between a training loop and the disk."""

import atexit
import os
import queue
import threading
import warnings
from types import TracebackType
from typing import Literal

import numpy as np

from kdanalysis.store.batch import Columns
from kdanalysis.store.writer import PartWriter


class QueueWriter:
    """Hands batches to a writer thread through a bounded queue.

    Arrays belong to the queue once they are put: do not change them afterwards. Memory is bounded
    by ``max_batches`` and what ``PartWriter`` holds.

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
        self._queue: queue.Queue = queue.Queue(max_batches)
        self._error: BaseException | None = None
        self._told = self._closed = False
        self.dropped_rows = self._dropped_layers = 0
        self._thread = threading.Thread(target=self._work, name="kdanalysis-writer", daemon=True)
        self._thread.start()
        self._process = os.getpid()
        atexit.register(self._close_at_exit)

    def put(self, columns: Columns, dtype: str | None = None) -> bool:
        """Queue a batch of samples; False where it was dropped.

        Raises:
            OSError, ValueError: the writer thread's error, with ``on_error="raise"``.
        """
        return self._put(self._writer.write, columns, dtype)

    def put_layers(self, columns: Columns) -> bool:
        """Queue rows of a layers table; False where they were dropped. Errors as for ``put``."""
        return self._put(self._writer.write_layers, columns)

    def flush(self) -> None:
        """Wait until everything put so far is committed.

        Raises:
            OSError, ValueError: the writer thread's error, with ``on_error="raise"``.
        """
        if self._closed:
            return
        done = threading.Event()
        self._queue.put((self._commit, done))
        done.wait()
        self._tell()

    def close(self) -> None:
        """Write what waits, end the thread, close the writer; twice is harmless.

        Raises:
            OSError, ValueError: an error not yet told, with ``on_error="raise"``.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._close_at_exit)
        self._queue.put(None)
        self._thread.join()
        self._tell()

    def __enter__(self) -> "QueueWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _close_at_exit(self) -> None:
        if os.getpid() == self._process:  # a forked child has no writer thread
            self.close()

    def _put(self, write, columns: Columns, *rest: str | None) -> bool:
        if self._closed:
            raise ValueError("the queue is closed: open a new writer to add rows")
        self._tell()
        if self._error is None:
            try:
                self._queue.put((write, columns, *rest), block=self._full == "block")
                return True
            except queue.Full:
                pass
        if write == self._writer.write:
            self.dropped_rows += _rows(columns)
        else:
            self._dropped_layers += _rows(columns)
        return False

    def _tell(self) -> None:
        if self._error is None or self._told:
            return
        self._told = True
        if self._on_error == "raise":
            raise self._error
        warnings.warn(
            f"recording into {self._writer.root} stopped, training goes on: {self._error}",
            RuntimeWarning,
            stacklevel=4,
        )

    def _commit(self, done: threading.Event) -> None:
        try:
            if self._error is None:
                self._writer.flush()
        finally:
            done.set()

    def _work(self) -> None:
        lost = {self._writer.write: 0, self._writer.write_layers: 0}
        while (item := self._queue.get()) is not None:
            write, columns, *rest = item
            del item
            if self._error is not None and write != self._commit:
                lost[write] += _rows(columns)
                continue
            before = self._pending(write)
            try:
                write(columns, *rest)
            except BaseException as error:
                self._error = error
                if write in lost:
                    lost[write] += _rows(columns) - (self._pending(write) - before)
            del columns
        self._finish(*lost.values())

    def _pending(self, write) -> int:
        layers = write == self._writer.write_layers
        return self._writer.pending_layers if layers else self._writer.pending_rows

    def _finish(self, lost: int, lost_layers: int) -> None:
        self._writer.count_dropped(self.dropped_rows + lost, self._dropped_layers + lost_layers)
        try:
            if isinstance(self._error, OSError):
                self._writer.abandon(str(self._error))
            else:
                self._writer.close()
        except BaseException as error:
            self._error = self._error or error
        self.dropped_rows = self._writer.dropped_rows


def _rows(columns: Columns) -> int:
    return len(np.asarray(columns["step"]))
