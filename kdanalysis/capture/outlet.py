"""The run folder that a recorder writes into, opened at its first record."""

import platform
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdanalysis import __version__
from kdanalysis.capture.options import Options, place
from kdanalysis.capture.record import Record, measure
from kdanalysis.capture.samples import check_sides
from kdanalysis.capture.schedule import never
from kdanalysis.capture.top import check_classes_kept, kept_columns, kept_facts
from kdanalysis.core.limits import LOGGER, MUCH, free_bytes, written
from kdanalysis.core.warn import warn
from kdanalysis.store.floats import DTYPES
from kdanalysis.store.info import RunInfo
from kdanalysis.store.queue import QueueWriter
from kdanalysis.store.run import StoredRun
from kdanalysis.store.schema import encode
from kdanalysis.store.writer import PartWriter

Batch = tuple[dict[str, Any], str | None, str]  # columns, dtype and kind of rows
BATCHES = 1000  # captured ones for which there should be room on the disk


class Outlet:
    """Puts finished records into the queue of a run; closed or broken, it lets them go.

    Args:
        options: where and how to write.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._writer: QueueWriter | None = None
        self._info: RunInfo | None = None
        self._broken = False
        self._looked: set[str] = set()  # columns the disk was looked at for, and warnings given
        self._last: tuple[int, Tensor] | None = None  # step and ids of the last record
        self._empty = 0

    def first_step(self) -> int:
        """Return 0, or the step after the last captured one of a run that is resumed."""
        if self._options.store.existing != "resume":
            return 0
        try:
            return int(max(StoredRun(self._options.path).steps(), default=-1)) + 1
        except FileNotFoundError:
            return 0

    def describe(self, student: Tensor, teacher: Tensor) -> None:
        """Settle, at the first step that is captured, what the run will say of itself.

        Raises:
            ValueError: as :func:`check_sides`, class names of another number than the logits have
                classes, or a K to keep that leaves none of them.
        """
        if self._info is None:
            check_sides(student, teacher)
            if self._options.top is not None:
                check_classes_kept(self._options.top, self._options.loss, student.shape[1])
            self._info = _info(self._options, student.shape[1])

    def put(self, record: Record) -> None:
        """Queue the rows of a record and tell the listener what they say; one of nothing is let go.

        Raises:
            OSError, ValueError: the run cannot be opened, or an earlier record could not be stored.
        """
        if not len(record.rows) and record.layers is None:
            self._empty += 1
            return
        first = self._writer is None and not self._broken
        self._warn_of_same_step(record)
        rows = list(self._rows(record))
        if first:
            self._writer = self._open(self._info, rows)
            self._broken = self._writer is None
        if self._writer is not None:
            for columns, dtype, kind in rows:
                if kind in ("samples", "tokens"):
                    self._warn_of_little_room(columns)
                self._writer.put(columns, dtype, kind)

    def unless_first(self, record: Record | None) -> Record | None:
        """Return the record of a refused step; None where it would be all that the run holds."""
        if record is None or self._writer is not None:
            return record
        if record.sent is not None:
            record.sent.remove()
        return None

    def _rows(self, record: Record) -> Iterator[Batch]:
        """Yield what a record has to be written, kind by kind, and tell the listener."""
        listener = self._options.listener
        if len(record.rows) and not (self._broken and listener is None):
            captured = measure(record, self._options.loss, norms=listener is not None)
            if listener is not None:
                listener(captured)
            if self._broken:
                return
            residual = {"residual": captured.residual.float().cpu().numpy()}
            columns, dtype, kind = record.samples.columns(), record.samples.dtype, "samples"
            if self._options.top is not None:
                self._warn_of_soft(record)
                how = self._options.top, self._options.loss, self._options.store.dtype
                columns, dtype, kind = kept_columns(record.samples, *how), None, "tokens"
            yield _stamped(record, columns | residual), dtype, kind
            if captured.arrival is not None:
                yield _stamped(record, captured.arrival.columns()), None, "terms"
            if record.regions is not None:
                columns = _stamped(record, record.regions.columns())
                yield columns, record.regions.dtype, "regions"
        if record.layers is not None:
            yield _stamped(record, record.layers.columns()), None, "layers"

    def _warn_of_little_room(self, columns: dict[str, Any]) -> None:
        """Say at the first captured batch what it takes; warn where there is room for few more.

        So at the first one whose targets are distributions, which are kept as they come.
        """
        if columns.keys() <= self._looked:
            return
        self._looked |= columns.keys()
        store = self._options.store
        sizes = {
            name: values.size
            * (_width(store.dtype, values) if "logits" in name else values.itemsize)
            for name, values in columns.items()
        }
        size, free = sum(sizes.values()), free_bytes(self._options.path)
        if free >= BATCHES * size:
            if BATCHES * size >= MUCH:
                path = self._options.path
                LOGGER.info(
                    f"a captured batch takes {written(size)} in {path}, {written(free)} are free"
                )
        else:
            narrow = "" if store.dtype == "float16" else ', or store=kd.Store("float16")'
            soft = sizes.get("soft_target")
            part = f", {written(soft)} of it targets over the classes" if soft else ""
            warn(
                f"there is room for about {free // size:,} captured batches like this one in "
                f"{self._options.path}: it takes {written(size)}{part}, and {written(free)} are "
                f"free; capture fewer steps (schedule=) or rows (max_rows=){narrow}"
            )

    def _warn_of_same_step(self, record: Record) -> None:
        """Warn once where a step comes again with a sample that it held: that is read once."""
        ids, last = record.samples.sample_id, self._last
        self._last = record.step, ids
        if last is None or last[0] != record.step or "same step" in self._looked:
            return
        if again := int(torch.isin(ids, last[1]).sum()):
            self._looked.add("same step")
            warn(
                f"step {record.step} was captured before with {again} of these {len(ids)} samples, "
                f"and tables count a sample once a step: let recorder.step grow with every call, "
                f"or give sample_id= what tells samples apart"
            )

    def _warn_of_soft(self, record: Record) -> None:
        """Warn once where few classes of a row are kept and its target is over all of them."""
        if record.samples.soft is not None and "soft_target" not in self._looked:
            self._looked.add("soft_target")
            warn(
                "targets over the classes are not kept beside keep=TopK(k): tables of this run "
                "leave such rows out where cross-entropy is looked at; keep all logits for it"
            )

    def warn_of_nothing(self) -> None:
        """Warn where a training ended, not by an exception, and no step of it was recorded."""
        meant = self._options.store.existing == "resume" or self._options.schedule is never
        why = (
            f"none of its {self._empty} captured batches held a sample, or a token whose label is "
            f"not the ignored one (-100)"
            if self._empty
            else "call loss or observe in every step, and let the schedule choose some of the steps"
        )
        if self._writer is None and not (self._broken or meant or sys.exc_info()[0]):
            warn(f"nothing of this training was recorded into {self._options.path}: {why}")

    def flush(self) -> None:
        """Wait until everything queued so far is on the disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what waits; a second time is harmless."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, info: RunInfo, rows: list[Batch]) -> QueueWriter | None:
        """Open the run; None after one warning, where that fails and ``on_error`` warns.

        The first rows are looked at before: where they cannot be stored there is no folder.
        """
        path, rank, store = self._options.path, self._options.rank, self._options.store
        for columns, dtype, kind in rows:
            encode(kind, columns, info.sizes, store.dtype, dtype)
        try:
            parts = PartWriter(path, rank, info, store.dtype, existing=store.existing)
        except OSError as error:
            if store.on_error == "raise":
                raise
            warn(f"nothing more is recorded into {path}, training goes on: {error}")
            return None
        writer = QueueWriter(parts, full=store.full, on_error=store.on_error)
        weakref.finalize(self, writer.let_go)  # a recorder dropped without close, as a notebook's
        return writer


def _stamped(record: Record, columns: dict[str, Any]) -> dict[str, Any]:
    """Return columns with those that say when they were captured."""
    count = len(next(iter(columns.values())))
    step, epoch = np.full(count, record.step, np.int64), np.full(count, record.epoch, np.int32)
    return {"step": step, "epoch": epoch, **columns}


def _width(dtype: str, values: np.ndarray) -> int:
    """Bytes of a number of logits on the disk."""
    return values.itemsize if dtype == "same" else np.dtype(DTYPES[dtype]).itemsize


def _info(options: Options, num_classes: int) -> RunInfo:
    loss, store = options.loss, options.store
    return RunInfo(
        num_classes=num_classes,
        classes=store.classes,
        loss="" if loss is None else repr(loss),
        terms=() if loss is None else loss.terms,
        weights={} if loss is None else loss.term_weights,
        temperature=None if loss is None else loss.temperature,
        settings=store.settings,
        versions={
            "kdanalysis": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        world_size=place()[1],
        seed=options.seed,
        scales=() if options.regions is None else options.regions.scales,
        **({} if options.top is None else kept_facts(options.top, loss)),
    )
