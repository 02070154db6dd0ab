"""Recorder: the only stateful object of a training loop."""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdanalysis.capture.captured import Captured
from kdanalysis.capture.closing import Closing
from kdanalysis.capture.options import Options
from kdanalysis.capture.outlet import Outlet
from kdanalysis.capture.place import place
from kdanalysis.capture.probe import probe_for
from kdanalysis.capture.record import begin, check_batch
from kdanalysis.capture.schedule import Schedule, every
from kdanalysis.capture.seen import Seen, see
from kdanalysis.capture.sent import watch
from kdanalysis.capture.tap import Taps
from kdanalysis.losses import Loss

Real = int | float


class Recorder(Closing):
    """Captures teacher and student logits while a student trains, and changes nothing in it.

    On scheduled steps both sides' logits, the targets and the residual go to a run folder (see
    ``open_run``) through a bounded queue and one writer thread; every term's gradient in the
    logits follows from them in closed form, for any loss, after the fact. The residual compares
    the closed forms of ``loss`` with the gradient that autograd sent into the student's logits,
    relative to the longer of the two: near 0, unless a loss or a weight is not what it seems; NaN
    where no backward pass sent one, infinite where it overflowed.
    A loss on regions (``SDD``) takes maps and heads from the models, see ``RegionTap``; the models'
    logits are what is stored, and its residual is that of the gradient in the student's feature
    map, where those of its logits and of its cells meet: NaN for a head that is not linear.

        with Recorder("runs/gdkd", loss, student=student, teacher=teacher) as recorder:
            for x, y, index in loader:
                teacher(x); student(x)
                recorder.loss(y, sample_id=index).backward()

    ``step`` counts the calls and ``epoch`` is 0 until you set it; both may be set, but the step
    must never go back, because step and sample id name a row. A resumed run goes on after its last
    captured step, or where you set ``step``: of a row captured twice the later one is read back.
    Without a ``with`` block call ``close``.

    Args:
        path: the run folder; a folder that holds a run is refused unless ``existing`` says else.
        loss: computes the training loss in ``recorder.loss``; in ``recorder.observe`` it only
            serves the residual and may be None.
        student: the model in training; a forward hook takes its logits (n, c).
        teacher: the model to learn from; likewise.
        student_layer: dotted name of the submodule that gives its logits; the model itself if "";
            None for no hook, where you give the logits.
        teacher_layer: likewise.
        student_map: dotted name of the layer of its last spatial map; found where not given.
        student_head: dotted name of the layer that reads the map's average; likewise.
        student_grid: (h, w) of its tokens, where they are not the largest square.
        teacher_map: likewise; so are teacher_head and teacher_grid.
        layers: names or patterns (see ``find_layers``) of layers of the student at which to take
            every term's gradient, at the cost of a backward pass a term; none for a linear head,
            nor for "logits", the gradients in the logits of the batch. Under DDP the gradients are
            those of all ranks' samples: every rank needs this recorder and one schedule.
        regions: scales, such as (1, 2, 4), at which to keep region logits of both sides (see
            ``region_logits``), whatever the loss; none if empty. ``region_bytes`` says how large.
        region_rows: keep the regions of at most so many of a captured step's rows.
        noise: take the gradients' variance over samples too, at the same cost once more.
        schedule: at which steps to capture, every 50th if None; ``every``, ``at``,
            ``logarithmic`` or any function of the step.
        max_rows: capture at most so many rows of a batch, drawn by (seed, step).
        dtype: "float16" (up to 65 504, else refused), "bfloat16", "float32", "float64" or "same".
        classes: names of the classes.
        seed: of the row sampling; stored with the run.
        scaler: the GradScaler in use, whose factor is divided out of the residual.
        accumulate: how many losses you add up before a step of the optimizer, where you divide
            each by that number; the residual takes it into account.
        settings: plain JSON values to keep with the run.
        existing: "error", "overwrite" or "resume", where the folder already holds a run.
        full: "block" or "drop", when the disk is slower than training.
        on_error: "raise", or "warn" and let the training go on, when the disk fails.
        listener: called with what each captured batch says of ``loss``, after its backward pass.

    Raises:
        ValueError: an argument that cannot be used.
        FileExistsError: the folder holds a run, or other files.
    """

    def __init__(
        self,
        path: str | Path,
        loss: Loss | None = None,
        *,
        student: nn.Module | None = None,
        teacher: nn.Module | None = None,
        student_layer: str | None = "",
        teacher_layer: str | None = "",
        student_map: str = "",
        student_head: str = "",
        student_grid: tuple[int, int] | None = None,
        teacher_map: str = "",
        teacher_head: str = "",
        teacher_grid: tuple[int, int] | None = None,
        layers: Sequence[str] | str = (),
        noise: bool = True,
        regions: Sequence[int] = (),
        region_rows: int = 16,
        schedule: Schedule | None = None,
        max_rows: int | None = None,
        dtype: str = "float16",
        classes: Sequence[str] | None = None,
        seed: int = 0,
        scaler: Any = None,
        accumulate: int = 1,
        settings: dict[str, Any] | None = None,
        existing: str = "error",
        full: str = "block",
        on_error: str = "raise",
        listener: Callable[[Captured], None] | None = None,
    ) -> None:
        layers = (layers,) if isinstance(layers, str) else tuple(layers)
        where = {"path": Path(path).expanduser(), "rank": place()[0], "existing": existing}
        what = {"loss": loss, "layers": layers, "noise": noise, "regions": regions}
        which = {"max_rows": max_rows, "region_rows": region_rows, "seed": seed}
        how = {"dtype": dtype, "accumulate": accumulate, "full": full, "on_error": on_error}
        self._options = Options(
            **(where | what | which | how),
            schedule=every(50) if schedule is None else schedule,
            classes=None if classes is None else list(classes),
            settings=dict(settings or {}),
            listener=listener,
        )
        self.step, self.epoch = self._options.first_step(), 0
        self._loss, self._student, self._scaler, self._refused = loss, student, scaler, False
        self._outlet, self._pending, self._closed = Outlet(self._options), None, False
        captures, me = self._options.schedule, weakref.ref(self)
        self._taps = Taps(lambda: captures(me().step), loss, bool(self._options.regions))
        self._let_go = weakref.finalize(self, self._taps.remove)
        self._probe = probe_for(student, self._options, self._taps)
        found = student_map, student_head, student_grid
        self._taps.attach(student, student_layer, "student", *found)
        self._taps.attach(
            teacher, teacher_layer, "teacher", teacher_map, teacher_head, teacher_grid
        )

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._options.path

    def loss(
        self,
        target: Int[Tensor, " n"],
        sample_id: Int[Tensor, " n"] | None = None,
        *,
        ramp: int | float = 1.0,
        student: Float[Tensor, "n c *r"] | None = None,
        teacher: Float[Tensor, "n c *t"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the training loss of this step, and capture the step where it is scheduled.

        Args:
            target: class indices.
            sample_id: identifies samples over the whole run; the row number if not given.
            ramp: warm-up factor of the distillation terms.
            student: logits instead of the last forward pass's: region logits for a loss on
                regions, those of the stones too for ``Blockwise``.
            teacher: likewise.

        Raises:
            RuntimeError: no forward pass was seen, or the recorder was given no loss.
            ValueError: shapes differ, or logits are NaN or infinite.
        """
        if self._loss is None:
            raise RuntimeError("this recorder was given no loss: use observe, or pass one")
        seen = self._take(target, sample_id, ramp, True, student=student, teacher=teacher)
        return sum(self._loss(seen.student, seen.teacher, target, ramp).values()).mean()

    def observe(
        self,
        target: Int[Tensor, " n"],
        sample_id: Int[Tensor, " n"] | None = None,
        *,
        ramp: int | float = 1.0,
        student: Float[Tensor, "n c *r"] | None = None,
        teacher: Float[Tensor, "n c *t"] | None = None,
    ) -> None:
        """Capture this step where it is scheduled, beside a loss of your own.

        Call it once a step, after the forward passes and before ``backward()``. The residual
        expects your loss to be the mean over samples of what ``loss`` computes. Arguments and
        errors as for ``loss``; NaN and infinite logits are stored as they are.
        """
        self._take(target, sample_id, ramp, False, student=student, teacher=teacher)

    def end_step(self) -> None:
        """Finish the record of a step whose backward passes are over; forget its forward passes.

        The next call does so too. Call it where a forward pass was not recorded, as that of a
        batch you left out, or where the listener shall know of this step now.
        """
        self._finish()
        self._taps.forget()

    def flush(self) -> None:
        """Write what was captured so far; once it returns, a kill of the process loses none of it.

        Call it before saving a checkpoint, so that a resumed run lacks no step.
        """
        self._finish()
        self._outlet.flush()

    def close(self) -> None:
        """Take all hooks off and write what waits; a second time is harmless."""
        if self._closed:
            return
        self._closed, trained = True, self._taps.trained
        self._let_go()
        try:
            self._finish()
        finally:
            self._outlet.close()
        if trained and not self._refused:
            self._outlet.warn_of_nothing()

    @torch._disable_dynamo
    def _take(
        self, target: Tensor, sample_id: Tensor | None, ramp: Real, computes: bool, **given: Any
    ) -> Seen:
        if self._closed:
            raise RuntimeError(f"the recorder of {self.path} is closed")
        self._finish()
        self._refused = True  # until the end
        sides = [self._taps.take(side, logits) for side, logits in given.items()]
        check_batch(*(side.logits for side in sides), target, sample_id)
        captures = self._options.schedule(self.step)
        seen = see(*sides, self._options, computes, captures)
        if captures:
            factor = None if self._scaler is None else self._scaler.get_scale()
            facts = {"step": self.step, "epoch": self.epoch, "ramp": float(ramp)}
            how = self._options, self._probe, factor
            self._pending = begin(*sides, seen, target, sample_id, *how, **facts)
            self._pending.sent = watch(seen.watched, self._student)  # after the probe's passes
        self.step, self._refused = self.step + 1, False
        return seen

    def _finish(self) -> None:
        record, self._pending = self._pending, None
        if record is not None:
            record.finish(self._scaler)
            self._outlet.put(record)
