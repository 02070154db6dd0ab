"""The run folder that a recorder writes into, opened at its first record."""

import sys
import warnings

from kdanalysis.capture.captured import measure
from kdanalysis.capture.options import Options
from kdanalysis.capture.record import Record, store_dtype
from kdanalysis.capture.schedule import never
from kdanalysis.store.queue import QueueWriter


class Outlet:
    """Puts finished records into the queue of a run; closed or broken, it lets them go.

    Args:
        options: where and how to write.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._writer: QueueWriter | None = None
        self._broken = False

    def put(self, record: Record) -> None:
        """Queue the rows of a record and tell the listener what they say; one of nothing is let go.

        Raises:
            OSError, ValueError: the run cannot be opened, or an earlier record could not be stored.
        """
        if not len(record.rows) and record.layers is None:
            return
        if self._writer is None and not self._broken:
            self._writer = self._options.open_writer(record.student.shape[-1])
            self._broken = self._writer is None
        if len(record.rows):
            self._put_rows(record)
        if self._writer is not None and record.layers is not None:
            self._writer.put_layers(record.layers.columns(record.step, record.epoch))

    def _put_rows(self, record: Record) -> None:
        listener = self._options.listener
        if self._writer is None and listener is None:
            return
        captured = measure(record, self._options.loss, norms=listener is not None)
        if listener is not None:
            listener(captured)
        if self._writer is None:
            return
        dtype = store_dtype(record.student, record.teacher)
        self._writer.put(record.columns(captured.residual), dtype)
        if record.regions is not None:
            self._writer.put_regions(record.regions.columns(record.step, record.epoch))

    def warn_of_nothing(self) -> None:
        """Warn where a training ended, not by an exception, and no step of it was recorded."""
        meant = self._options.existing == "resume" or self._options.schedule is never
        if self._writer is None and not (self._broken or meant or sys.exc_info()[0]):
            warnings.warn(
                f"nothing of this training was recorded into {self._options.path}: call loss or "
                f"observe in every step, and let the schedule choose some of the steps",
                RuntimeWarning,
                stacklevel=4,
            )

    def flush(self) -> None:
        """Wait until everything queued so far is on the disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what waits; a second time is harmless."""
        if self._writer is not None:
            self._writer.close()
