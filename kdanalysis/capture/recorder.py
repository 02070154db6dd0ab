"""Recorder: the only stateful object of a training loop."""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdanalysis.capture.closures import Closures
from kdanalysis.capture.layers import probe_for
from kdanalysis.capture.options import Kept, Options, Scaling, Store, place, sort_kept
from kdanalysis.capture.outlet import Outlet
from kdanalysis.capture.passes import Seen, see
from kdanalysis.capture.projected import Projected, begin_projected, check_projected, whole
from kdanalysis.capture.record import Captured, Record, begin
from kdanalysis.capture.samples import check_batch
from kdanalysis.capture.schedule import Count, Schedule, every
from kdanalysis.capture.sent import watch
from kdanalysis.capture.side import ADVICE, Side, as_sides
from kdanalysis.capture.taps import Taps
from kdanalysis.core.arguments import typed
from kdanalysis.core.warn import warn
from kdanalysis.losses import Labels, Loss
from kdanalysis.losses.base import check_ramp


@typed(advice={"student": ADVICE, "teacher": ADVICE, "loss": ", such as kd.GDKD()"})
class Recorder:
    """Captures teacher and student logits while a student trains, and changes nothing in it.

    On scheduled steps both sides' logits, the targets and the residual go to a run folder (see
    ``open_run``), by one writer thread; every term's gradient in the logits follows from them in
    closed form, for any loss. The residual compares the closed forms of ``loss`` with the gradient
    that autograd sent into the student's logits, relative to the longer of the two: near 0, unless
    a loss or a weight is not what it seems; NaN where no backward pass sent one, infinite where it
    overflowed. Of a loss on regions (``SDD``, see ``RegionTap``) the models' logits are stored, and
    the residual is that of the gradient in the student's feature map: NaN for a head not linear.

        with Recorder("runs/gdkd", loss, student=student, teacher=teacher) as recorder:
            for x, y, index in loader:
                teacher(x); student(x)
                recorder.loss(y, sample_id=index).backward()

    ``step`` counts the calls, ``epoch`` is 0; both may be set, but the step must never go back: it
    names a row with the sample id. A resumed run goes on after its last captured step, or where you
    set ``step``: of a row captured twice the later one is read back. Of a closure that an optimizer
    runs several times (LBFGS, SAM) the first call is the step's. Without ``with`` call ``close``.

    Args:
        path: the run folder; one that holds a run is refused unless ``store`` says else.
        loss: what ``recorder.loss`` computes; ``recorder.observe`` needs it for the residual only.
        student: the model in training, or a Side of one; a forward hook takes its logits (n, c).
        teacher: the model to learn from; likewise.
        keep: beside the logits ``Layers(...)``, ``Regions(...)``; in their place ``TopK(k)``.
        schedule: which steps; ``every(50)`` if None, ``at``, ``logarithmic``, a function of them.
        max_rows: capture at most so many rows of a batch, drawn by (seed, step).
        seed: of the row sampling; stored with the run.
        store: how the run is kept, ``Store()`` if None.
        scaling: what the loss is multiplied by before ``backward()``, by ``Scaling``.
        listener: called with what each captured batch says of ``loss``, after its backward pass.

    Raises:
        ValueError: an argument that cannot be used.
        FileExistsError: the folder holds a run, or other files.
    """

    step, epoch = Count(64), Count(32)

    def __init__(
        self,
        path: str | Path,
        loss: Loss | None = None,
        *,
        student: nn.Module | Side | None = None,
        teacher: nn.Module | Side | None = None,
        keep: Kept | Sequence[Kept] = (),
        schedule: Schedule | None = None,
        max_rows: int | None = None,
        seed: int = 0,
        store: Store | None = None,
        scaling: Scaling | None = None,
        listener: Callable[[Captured], None] | None = None,
    ) -> None:
        sides = as_sides(loss, student=student, teacher=teacher)
        self._options = Options(
            path=Path(path).expanduser(),
            rank=place()[0],
            loss=loss,
            **sort_kept(keep),
            schedule=every(50) if schedule is None else schedule,
            max_rows=max_rows,
            seed=seed,
            store=store or Store(),
            scaling=scaling or Scaling(),
            listener=listener,
        )
        self._outlet, self._pending = Outlet(self._options), None
        self._closed = self._refused = False
        self.step, self.epoch = self._outlet.first_step(), 0
        captures, me = self._options.schedule, weakref.ref(self)
        self._taps = Taps(lambda: captures(me().step), loss, self._options.regions is not None)
        self._let_go = weakref.finalize(self, self._taps.remove)
        self._student = sides["student"].net if "student" in sides else None
        self._probe = probe_for(self._student, self._options.layers, loss, seed, self._taps.copies)
        self._closures = Closures()
        for held in filter(None, (self._probe, self._closures)):
            self._taps.hold(held)
        for name, side in sides.items():
            self._taps.attach(name, side)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._options.path

    def loss(
        self,
        target: Labels,
        sample_id: Int[Tensor, " n"] | None = None,
        *,
        ramp: int | float = 1.0,
        student: Float[Tensor, "n c *r"] | Projected | None = None,
        teacher: Float[Tensor, "n c *t"] | Projected | None = None,
    ) -> Float[Tensor, ""]:
        """Return the training loss of this step, and capture the step where it is scheduled.

        Args:
            target: class indices, -1 for a row without a label; or distributions (n, c), as such.
            sample_id: identifies samples over the whole run; the row number if not given.
            ramp: warm-up factor of the distillation terms.
            student: logits instead of the last forward pass's, or ``Projected``: region logits
                for a loss on regions, those of the stones too for ``Blockwise``.
            teacher: likewise.

        Raises:
            RuntimeError: no forward pass was seen, or the recorder was given no loss.
            ValueError: shapes differ, logits are NaN or infinite, or probabilities.
        """
        if (loss := self._options.loss) is None:
            raise RuntimeError("this recorder was given no loss: use observe, or pass one")
        seen = self._take(target, sample_id, ramp, True, student=student, teacher=teacher)
        try:
            return sum(loss(seen.student, seen.teacher, target, ramp).values()).mean()
        except ValueError:
            self._pending = self._outlet.unless_first(self._pending)
            raise

    def observe(
        self,
        target: Labels,
        sample_id: Int[Tensor, " n"] | None = None,
        *,
        ramp: int | float = 1.0,
        student: Float[Tensor, "n c *r"] | Projected | None = None,
        teacher: Float[Tensor, "n c *t"] | Projected | None = None,
    ) -> None:
        """Capture this step where it is scheduled, beside a loss of your own.

        Call it once a step, after the forward passes and before ``backward()``. The residual is of
        the mean over samples of ``loss``. NaN and infinite logits are stored.
        """
        if isinstance(student, Projected) and not self._closed:
            return self._project(student, teacher, ramp, target, sample_id)
        self._take(target, sample_id, ramp, False, student=student, teacher=teacher)

    def end_step(self) -> None:
        """Finish the record of a step whose backward passes are over; forget its forward passes.

        The next call does so too. Call it for a batch that you left out, or to tell the listener.
        """
        self._finish()
        self._taps.forget()
        self._taps.tell()

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

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self.close()
        except Exception as late:
            if error is None:  # an error of closing never hides one of the block
                raise
            warn(f"recording into {self.path} ended: {late}")

    @torch._disable_dynamo
    def _take(self, target: Tensor, ids: Any, ramp: Any, computes: bool, **given: Any) -> Seen:
        if self._closed:
            raise RuntimeError(f"the recorder of {self.path} is closed")
        self._finish()
        self._refused = True  # until the end
        sides = [self._taps.take(side, whole(logits)) for side, logits in given.items()]
        check_batch(*(side.logits for side in sides), target, ids)
        again = self._closures.repeats(target, ids, *(x.logits for x in sides))
        captures = not again and self._options.schedule(self.step)
        seen = see(*sides, self._options.loss, computes, captures, self._probe is not None)
        if captures:
            self._outlet.describe(*(side.logits for side in sides))
            facts = {"step": self.step, "epoch": self.epoch, "ramp": float(check_ramp(ramp))}
            record = begin(*sides, seen, target, ids, self._options, self._probe, **facts)
            self._hold(record, seen.watched)
        self.step, self._refused = self.step + (not again), False
        return seen

    def _project(self, student: Projected, teacher: Any, ramp: Any, *labels: Any) -> None:
        sides = student.hidden, check_projected(student, teacher, self._options)
        self._finish()
        again = self._closures.repeats(*labels, *sides)
        if not again and self._options.schedule(self.step):
            facts = {"step": self.step, "epoch": self.epoch, "ramp": float(check_ramp(ramp))}
            record = begin_projected(student, teacher, *labels, self._options, **facts)
            self._outlet.describe(*record.sides)
            self._hold(record, student.hidden)
        self.step += not again

    def _hold(self, record: Record, watched: Tensor | None) -> None:
        """Keep a record until its backward pass has reached what is watched."""
        self._pending = record
        record.sent = self._taps.sent = watch(watched, self._student)  # after the probe's passes

    def _finish(self) -> None:
        record, self._pending = self._pending, None
        if record is not None:
            record.finish(self._options.scaling.scaler)
            self._outlet.put(record)
