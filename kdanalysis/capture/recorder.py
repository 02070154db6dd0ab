"""Recorder: the only stateful object of a training loop."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdanalysis import __version__
from kdanalysis.capture.record import Record, check_batch, kept, sample_rows, store_dtype
from kdanalysis.capture.schedule import Schedule, every
from kdanalysis.capture.sent import SentGradient
from kdanalysis.capture.tap import Tap
from kdanalysis.losses import Loss
from kdanalysis.store.folder import refuse_existing
from kdanalysis.store.info import RunInfo
from kdanalysis.store.queue import QueueWriter
from kdanalysis.store.writer import PartWriter


class Recorder:
    """Captures teacher and student logits while a student trains, and changes nothing in it.

    On scheduled steps both sides' logits, the targets and the residual go to a run folder (see
    ``open_run``) through a bounded queue and one writer thread; every term's gradient in the
    logits follows from them in closed form, for any loss, after the fact. The residual compares
    the closed forms of ``loss`` with the gradient that autograd sent into the student's logits,
    relative to the longer of the two: near 0, unless a loss or a weight is not what it seems.

        with Recorder("runs/gdkd", loss, student=student, teacher=teacher) as recorder:
            for x, y, index in loader:
                teacher(x); student(x)
                recorder.loss(y, sample_id=index).backward()

    Args:
        path: the run folder; a folder that holds a run is refused unless ``existing`` says else.
        loss: computes the training loss in ``recorder.loss``; in ``recorder.observe`` it only
            serves the residual and may be None.
        student: the model in training; a forward hook takes its logits (n, c).
        teacher: the model to learn from; likewise.
        student_layer: dotted name of the submodule that gives the logits; the model itself if "".
        teacher_layer: likewise.
        schedule: at which steps to capture; ``every``, ``at``, ``logarithmic`` or any function of
            the step.
        max_rows: capture at most so many rows of a batch, drawn by (seed, step).
        dtype: how logits are stored: "float16" (values beyond 65 504 are refused), "bfloat16",
            "float32", "float64" or "same".
        classes: names of the classes.
        seed: of the row sampling; stored with the run.
        scaler: the GradScaler in use, whose factor is divided out of the residual.
        settings: plain JSON values to keep with the run.
        existing: "error", "overwrite" or "resume", where the folder already holds a run.
        full: "block" or "drop", when the disk is slower than training.
        on_error: "raise", or "warn" and let the training go on, when the disk fails.
    """

    def __init__(
        self,
        path: str | Path,
        loss: Loss | None = None,
        *,
        student: nn.Module | None = None,
        teacher: nn.Module | None = None,
        student_layer: str = "",
        teacher_layer: str = "",
        schedule: Schedule | None = None,
        max_rows: int | None = None,
        dtype: str = "float16",
        classes: Sequence[str] | None = None,
        seed: int = 0,
        scaler: Any = None,
        settings: dict[str, Any] | None = None,
        existing: str = "error",
        full: str = "block",
        on_error: str = "raise",
    ) -> None:
        if max_rows is not None and max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, got {max_rows}")
        self.path, self.step, self.epoch = Path(path), 0, 0
        self._loss, self._student, self._scaler = loss, student, scaler
        self._schedule = schedule or every(50)
        self._max_rows, self._seed = max_rows, seed
        self._classes = None if classes is None else list(classes)
        self._settings = dict(settings or {})
        self._writing = {"float_dtype": dtype, "existing": existing}
        self._queueing = {"full": full, "on_error": on_error}
        self._writer: QueueWriter | None = None
        self._pending: Record | None = None
        self._taps: dict[str, Tap] = {}
        self._closed = False
        refuse_existing(self.path, existing, _rank())
        self._attach(student, student_layer, "student")
        self._attach(teacher, teacher_layer, "teacher")

    def loss(
        self,
        target: Int[Tensor, " n"],
        sample_id: Int[Tensor, " n"] | None = None,
        *,
        ramp: int | float = 1.0,
        student: Float[Tensor, "n c"] | None = None,
        teacher: Float[Tensor, "n c"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the training loss of this step, and capture the step where it is scheduled.

        Args:
            target: class indices.
            sample_id: identifies samples over the whole run; the row number if not given.
            ramp: warm-up factor of the distillation terms.
            student: logits, instead of those of the student's last forward pass.
            teacher: logits, instead of those of the teacher's last forward pass.

        Raises:
            RuntimeError: no forward pass was seen, or the recorder was given no loss.
            ValueError: shapes differ, or logits are NaN or infinite.
        """
        if self._loss is None:
            raise RuntimeError("this recorder was given no loss: use observe, or pass one")
        student, teacher = self._take(target, sample_id, ramp, student, teacher)
        return sum(self._loss(student, teacher, target, ramp).values()).mean()

    def observe(
        self,
        target: Int[Tensor, " n"],
        sample_id: Int[Tensor, " n"] | None = None,
        *,
        ramp: int | float = 1.0,
        student: Float[Tensor, "n c"] | None = None,
        teacher: Float[Tensor, "n c"] | None = None,
    ) -> None:
        """Capture this step where it is scheduled, beside a loss of your own.

        Call it once a step, after the forward passes and before ``backward()``. The residual
        expects your loss to be the mean over samples of what ``loss`` computes. Arguments and
        errors as for ``loss``; NaN and infinite logits are stored as they are.
        """
        self._take(target, sample_id, ramp, student, teacher)

    def close(self) -> None:
        """Take all hooks off and write what waits; a second time is harmless."""
        if self._closed:
            return
        self._closed = True
        for tap in self._taps.values():
            tap.remove()
        try:
            self._finish()
        finally:
            if self._writer is not None:
                self._writer.close()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _attach(self, model: nn.Module | None, layer: str, side: str) -> None:
        if model is None:
            return
        try:
            self._taps[side] = Tap(model, layer, side, lambda: self._schedule(self.step))
        except BaseException:
            self.close()
            raise

    def _take(
        self,
        target: Tensor,
        sample_id: Tensor | None,
        ramp: float,
        student: Tensor | None,
        teacher: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        if self._closed:
            raise RuntimeError(f"the recorder of {self.path} is closed")
        self._finish()
        sides = self._side("student", student), self._side("teacher", teacher)
        (student, _), (teacher, _) = sides
        check_batch(student, teacher, target, sample_id)
        if self._schedule(self.step):
            ids = torch.arange(len(target)) if sample_id is None else sample_id
            self._pending = self._begin(*sides, target, ids, ramp)
        self.step += 1
        return student, teacher

    def _side(self, side: str, given: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if given is not None:
            return given, None
        if side not in self._taps:
            raise RuntimeError(f"the recorder has no {side}: pass the model or its logits")
        return self._taps[side].take()

    def _begin(
        self,
        student: tuple[Tensor, Tensor | None],
        teacher: tuple[Tensor, Tensor | None],
        target: Tensor,
        sample_id: Tensor,
        ramp: float,
    ) -> Record:
        rows = sample_rows(len(target), self._max_rows, self._seed, self.step)
        parameters = [] if self._student is None else self._student.parameters()
        scale = 1.0 if self._scaler is None else self._scaler.get_scale()
        return Record(
            step=self.step,
            epoch=self.epoch,
            rows=rows,
            sample_id=kept(sample_id, rows),
            target=kept(target, rows),
            teacher=kept(teacher[0], rows, teacher[1]),
            student=kept(student[0], rows, student[1]),
            ramp=float(ramp),
            scale=len(target) / scale,
            sent=SentGradient(student[0], parameters) if student[0].requires_grad else None,
        )

    def _finish(self) -> None:
        record, self._pending = self._pending, None
        if record is None:
            return
        if record.sent is not None:
            record.sent.remove()
        columns = record.columns(self._loss)
        self._open(record.student.shape[-1]).put(columns, store_dtype(record.student))

    def _open(self, num_classes: int) -> QueueWriter:
        if self._writer is None:
            info = self._info(num_classes)
            parts = PartWriter(self.path, _rank(), info, **self._writing)
            self._writer = QueueWriter(parts, **self._queueing)
        return self._writer

    def _info(self, num_classes: int) -> RunInfo:
        loss = self._loss
        weights = {} if loss is None else loss.term_weights
        return RunInfo(
            num_classes=num_classes,
            classes=self._classes,
            loss="" if loss is None else repr(loss),
            terms=() if loss is None else tuple(loss.terms),
            weights={name: float(weight) for name, weight in weights.items()},
            temperature=None if loss is None else loss.temperature,
            settings=self._settings,
            versions={
                "kdanalysis": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
            world_size=int(os.environ.get("WORLD_SIZE", 1)),
            seed=self._seed,
        )


def _rank() -> int:
    return int(os.environ.get("RANK", 0))
