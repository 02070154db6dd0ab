"""Hugging Face: a Trainer that distils and records token by token, and its callback."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.capture import Side
from kdanalysis.core.arguments import typed
from kdanalysis.integrations.models import (
    check_class_names,
    is_encoder_decoder,
    logits_in,
    predicts_next_token,
)
from kdanalysis.integrations.recording import Ramp, Recording
from kdanalysis.integrations.tokens import Tokens, select_tokens
from kdanalysis.losses import Loss
from kdanalysis.networks.mode import evaluating

try:
    from transformers import Trainer, TrainerCallback
except Exception as error:  # a torchvision of another build ends it with a RuntimeError
    raise ImportError(
        f"kdanalysis.integrations.huggingface needs Transformers: pip install "
        f"'kdanalysis[transformers]' ({error})"
    ) from error


@typed
class DistillationCallback(TrainerCallback):
    """Opens a run when training starts, writes it before checkpoints, closes it at the end.

    A step is one of the optimizer (``state.global_step``); all batches accumulated for it are
    recorded, token by token. Evaluation is not. Training that goes on from a checkpoint goes on
    with the run. Callbacks see no batch: ``DistillationTrainer`` hands it on.

    Args:
        path: the run folder.
        loss: what trains, by its terms' sum; ``DistillationMixin.token_loss`` takes your own.
        teacher: the model to learn from; put onto the trainer's device, and into evaluation mode
            in its forward passes alone, since modules may be the student's too.
        id_column: name of the inputs' column with the sample ids of the rows; without it the
            row numbers of a step serve.
        shift: whether the logits at a position are of the token after it; if None, as they are of
            a causal language model of Transformers, known by its class.
        ramp: warm-up factor of the distillation terms by epoch.
        options: schedule, max_rows (whole vocabularies are large), keep, store and whatever else
            ``Recorder`` takes, but scaling, which the trainer knows.

    Raises:
        ValueError: when training starts, whatever ``Recorder`` refuses, several devices in one
            process, and classes that student and teacher name in another order.
        FileExistsError: when training starts anew in a folder that holds a run.
    """

    def __init__(
        self,
        path: str | Path,
        loss: Loss | None = None,
        *,
        teacher: nn.Module,
        id_column: str = "sample_id",
        shift: bool | None = None,
        ramp: Ramp | None = None,
        **options: Any,
    ) -> None:
        self.teacher, self.id_column, self.shift = teacher, id_column, shift
        self.recording = Recording(path, loss, ramp, options)

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Place the teacher."""
        self.place_teacher(args.device)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any
    ) -> None:
        """Open the run."""
        if args.n_gpu > 1:
            raise ValueError(
                f"{args.n_gpu} devices in one process split a batch out of the recorder's sight: "
                f"start a process a device with torchrun, or show it one with CUDA_VISIBLE_DEVICES"
            )
        self.place_teacher(args.device)
        check_class_names(model, self.teacher)
        self.recording.open(state.global_step, student=Side(model, layer=None))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Finish the step; where a checkpoint follows, write what was captured."""
        self.recording.end_step()
        if control.should_save:
            self.recording.flush()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write what was captured where a checkpoint follows."""
        self.on_step_end(args, state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write what was captured: a checkpoint follows where the evaluation was the best."""
        self.recording.flush()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the run."""
        self.recording.close()

    def place_teacher(self, device: torch.device) -> None:
        """Put it onto the device, unless it is spread already."""
        if getattr(self.teacher, "hf_device_map", None) is None:
            self.teacher.to(device)


class DistillationMixin:
    """Makes a ``Trainer`` distil; put it before the Trainer's class.

    The loss is the mean over the labelled tokens of all batches that are accumulated for a step
    (on all devices, where ``average_tokens_across_devices`` says so). Tokens labelled -100 take no
    part; a causal language model's logits are held against the next token. Of models with one
    label a row, the rows are the tokens. The model sees no labels, so that it computes no loss of
    its own; an encoder-decoder, which makes its inputs of them, sees them. The trainer's logs get
    ``kd/norm/TERM`` and ``kd/residual`` over what was captured since the last (see ``Tally.take``).

    Raises:
        ValueError: for a smoothed label or a ``compute_loss_func``, which would not be used, and
            where not exactly one of the callbacks is a ``DistillationCallback``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.label_smoothing_factor != 0 or self.compute_loss_func is not None:
            raise ValueError(
                "the loss is the callback's or token_loss's: label_smoothing_factor and "
                "compute_loss_func would not be used"
            )
        model, shift = self.accelerator.unwrap_model(self.model), self.distillation.shift
        self._needs_labels = is_encoder_decoder(model)
        self.label_names = self.label_names or ["labels"]  # of a model that takes none
        # By these two the Trainer counts the tokens of all batches of a step, and hands them on.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = predicts_next_token(model) if shift is None else shift

    @property
    def distillation(self) -> DistillationCallback:
        """The callback that records."""
        found = [c for c in self.callback_handler.callbacks if isinstance(c, DistillationCallback)]
        if len(found) != 1:
            name, count = type(self).__name__, len(found)
            raise ValueError(f"{name} needs one DistillationCallback in callbacks=, got {count}")
        return found[0]

    def token_loss(self, tokens: Tokens) -> Float[Tensor, " n"]:
        """Return the loss of every token; override it for a loss of your own.

        The residual then tells how far its gradient is from that of the callback's loss.
        """
        recording = self.distillation.recording
        if recording.loss is None:
            raise ValueError("no loss to train with: give the callback one, or define token_loss")
        terms = recording.loss(tokens.student, tokens.teacher, tokens.target, self._ramp())
        return sum(terms.values())

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Run both models and return the loss; in training, record the batch where scheduled."""
        records = model.training and self.distillation.recording.recorder is not None
        if records:
            self.distillation.recording.begin(self.state.global_step, self._epoch())
        outputs, tokens = self._run(model, dict(inputs))
        values = self.token_loss(tokens)
        weight = self._weight(len(values), num_items_in_batch)
        if records:  # without tokens too: at layers the other ranks wait for this one
            self._observe(tokens, weight)
        loss = values.sum() * weight
        return (loss, outputs) if return_outputs else loss

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; after an exception the run is closed and no hook is left."""
        try:
            return super().train(*args, **kwargs)
        except BaseException as error:
            self.distillation.recording.close(error)
            raise

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with the norms in what is said of training."""
        if "loss" in logs or "train_loss" in logs:
            logs.update(self.distillation.recording.tally.take())
        super().log(logs, *args, **kwargs)

    def _run(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Any, Tokens]:
        callback = self.distillation
        rows, labels = inputs.pop(callback.id_column, None), inputs.get("labels")
        if labels is None:
            raise ValueError(f"the inputs have no labels, only {sorted(inputs)}")
        if rows is None:
            rows = callback.recording.number_rows(len(labels)).to(labels.device)
        if not self._needs_labels:
            del inputs["labels"]
        outputs = model(**inputs)
        with torch.no_grad(), evaluating(callback.teacher), self.accelerator.autocast():
            teacher = logits_in(callback.teacher(**inputs))
        shift = self._loss_shifts_labels
        return outputs, select_tokens(logits_in(outputs), teacher, labels, rows, shift)

    def _weight(self, count: int, items: Tensor | int | None) -> Tensor | float:
        """What the sum over tokens is multiplied by; gradients of several devices are averaged."""
        if items is None:
            return 1.0 / max(count, 1)
        devices = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return devices / torch.as_tensor(items).clamp(min=1)

    def _observe(self, tokens: Tokens, weight: Tensor | float) -> None:
        recording, scaler = self.distillation.recording, self.accelerator.scaler

        def factor() -> float:
            scale = 1.0 if scaler is None else scaler.get_scale()
            return max(len(tokens.target), 1) * float(weight) * scale

        recording.factor = factor
        sides = {"student": tokens.student, "teacher": tokens.teacher}
        recording.recorder.observe(tokens.target, tokens.sample_id, ramp=self._ramp(), **sides)

    def _epoch(self) -> int:
        return int(self.state.epoch or 0)

    def _ramp(self) -> float | int:
        return self.distillation.recording.ramp(self._epoch())

    def _set_signature_columns_if_needed(self) -> None:
        """Keep the column of sample ids, which the model does not take."""
        super()._set_signature_columns_if_needed()
        column = self.distillation.id_column
        if column not in self._signature_columns:
            self._signature_columns.append(column)


class DistillationTrainer(DistillationMixin, Trainer):
    """A ``Trainer`` that distils, with the callback that records.

        callback = DistillationCallback("runs/gdkd", loss, teacher=teacher, max_rows=64)
        DistillationTrainer(student, args, train_dataset=data, callbacks=[callback]).train()

    See ``DistillationMixin`` for what it does, ``DistillationCallback`` for what is recorded.
    """
