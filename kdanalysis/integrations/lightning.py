"""Lightning: a callback that records a LightningModule in training and logs the terms' norms."""

from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from kdanalysis.capture import Recorder, Side
from kdanalysis.core.arguments import typed
from kdanalysis.integrations.batch import Unpack, unpack
from kdanalysis.integrations.recording import Ramp, Recording
from kdanalysis.losses import Labels, Loss
from kdanalysis.networks.mode import settle

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except Exception as error:  # a torchvision of another build ends it with a RuntimeError
    raise ImportError(
        f"kdanalysis.integrations.lightning needs Lightning: pip install 'kdanalysis[lightning]' "
        f"({error})"
    ) from error


@typed
class DistillationCallback(Callback):
    """Records student and teacher while a LightningModule trains.

    The module runs both models in ``training_step``; hooks see their logits. Either it computes its
    own loss, and the callback watches, or it asks for ``callback.loss(y, index)``:

        callback = DistillationCallback("runs/gdkd", loss, schedule=kd.every(50))
        Trainer(callbacks=[callback]).fit(module)

    A step is one of the optimizer (``trainer.global_step``); with gradient accumulation all its
    batches are recorded. Validation, testing and the sanity check never are, nor is a
    ``fast_dev_run``. Training that goes on from a checkpoint goes on with the run. Each rank writes
    its own shard. Every ``log_every_n_steps`` the trainer's loggers get ``kd/norm/TERM`` and
    ``kd/residual`` over the steps captured since the last time (see ``Tally.take``), of rank 0.

    The teacher is put into evaluation mode, but for modules that something else in the module uses
    too, such as a body that student and teacher share; nothing else changes in the training. Of
    an optimizer that runs a step's closure several times (LBFGS, SAM) the first pass is the step's.
    In DDP the student is a submodule of the module, not the module itself, whose forward pass
    Lightning replaces.

    Args:
        path: the run folder.
        loss: what ``callback.loss`` computes; beside a loss of your own, what it should be, for
            the norms and the residual; or None.
        student: dotted name in the module, or a model, or a Side of either; None where you give its
            logits to ``loss`` or ``observe``, as those of tokens (see ``select_tokens``).
        teacher: likewise.
        unpack: a function of the batch that returns targets and sample ids, or None for row
            numbers; see ``unpack``. Not used where you call ``loss`` or ``observe``.
        ramp: warm-up factor of the distillation terms by epoch.
        options: schedule, max_rows, keep, store and whatever else ``Recorder`` takes, but scaling,
            which the trainer knows.

    Raises:
        ValueError: when training starts, for a student or teacher that the module has not, and
            whatever ``Recorder`` refuses.
        FileExistsError: when training starts anew in a folder that holds a run.
    """

    def __init__(
        self,
        path: str | Path,
        loss: Loss | None = None,
        *,
        student: str | nn.Module | Side | None = "student",
        teacher: str | nn.Module | Side | None = "teacher",
        unpack: Unpack = unpack,
        ramp: Ramp | None = None,
        **options: Any,
    ) -> None:
        self._recording = Recording(path, loss, ramp, options)
        self._sides, self._unpack = {"student": student, "teacher": teacher}, unpack
        self._batch, self._seen, self._logged = None, False, 0

    @property
    def recorder(self) -> Recorder | None:
        """The recorder while training goes on, else None."""
        return self._recording.recorder

    def loss(
        self, target: Labels, sample_id: Int[Tensor, " n"] | None = None, **given: Any
    ) -> Float[Tensor, ""]:
        """Return the training loss, as ``Recorder.loss`` does, and record the batch.

        Call it in ``training_step``, after both forward passes; ``given`` are the other arguments
        of ``Recorder.loss``.

        Raises:
            RuntimeError: outside training, and as ``Recorder.loss``.
        """
        return self._record("loss", target, sample_id, given)

    def observe(
        self, target: Labels, sample_id: Int[Tensor, " n"] | None = None, **given: Any
    ) -> None:
        """Record the batch, as ``Recorder.observe`` does, instead of by the batch's ``unpack``."""
        self._record("observe", target, sample_id, given)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run, and put the teacher into evaluation mode."""
        sides = {side: _find(pl_module, side, name) for side, name in self._sides.items()}
        if sides["teacher"] is not None:
            holders = [pl_module, *(side.net for side in sides.values() if side is not None)]
            settle(sides["teacher"].net, holders)
        self._logged = trainer.global_step
        self._recording.factor = lambda: _factor(trainer)
        self._recording.open(trainer.global_step, not trainer.fast_dev_run, **sides)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin a batch."""
        self._recording.begin(trainer.global_step, trainer.current_epoch)
        self._batch, self._seen = batch, False

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Record the batch, unless it is recorded already."""
        if not self._seen and self.recorder is not None:
            self.observe(*self._unpack(self._batch))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Finish the batch, and log where it is time."""
        self._recording.end_step()
        self._batch, step, n = None, trainer.global_step, trainer.log_every_n_steps
        if n and step % n == 0 and step != self._logged:
            self._log(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write what was captured, so that a training that goes on from here lacks no step."""
        self._recording.flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the run, and log what is left."""
        self._recording.close()
        self._log(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Close the run; no hook is left."""
        self._recording.close(exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the run, where training was left by another way."""
        self._recording.close()

    def _record(
        self, call: str, target: Tensor, sample_id: Tensor | None, given: dict[str, Any]
    ) -> Any:
        recording = self._recording
        if recording.recorder is None or self._batch is None:
            raise RuntimeError(
                f"callback.{call} was called outside training: call it in training_step, with the "
                f"callback among the trainer's"
            )
        if sample_id is None:
            sample_id = recording.number_rows(len(target))
        given = {"ramp": recording.ramp(recording.recorder.epoch)} | given
        self._seen = True
        return getattr(recording.recorder, call)(target, sample_id, **given)

    def _log(self, trainer: Trainer) -> None:
        values, self._logged = self._recording.tally.take(), trainer.global_step
        for logger in trainer.loggers if values else ():
            logger.log_metrics(values, step=max(trainer.global_step - 1, 0))


def _find(module: LightningModule, name: str, given: str | nn.Module | Side | None) -> Side | None:
    """Return what is watched on a side, its model looked up in the module where it is a name."""
    if given is None:
        return None
    side = given if isinstance(given, Side) else Side(given)
    if not isinstance(side.net, str):
        return side
    try:
        found = attrgetter(side.net)(module)
    except AttributeError:
        found = None
    if not isinstance(found, nn.Module):
        has = ", ".join(child for child, _ in module.named_children())
        raise ValueError(
            f"{type(module).__name__} has no model named {side.net!r}: say {name}=, a dotted name "
            f"in it or a model; it has: {has}"
        )
    return replace(side, net=found)


def _factor(trainer: Trainer) -> float:
    """What Lightning multiplies the loss by before it goes backward."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    scale = 1.0 if scaler is None else scaler.get_scale()
    return scale / trainer.accumulate_grad_batches  # 1 in manual optimization, by Lightning's rule
