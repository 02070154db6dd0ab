"""TRL: what its trainers distil, recorded token by token, without a change of their losses."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdanalysis.capture import Projected
from kdanalysis.integrations.huggingface import DistillationCallback
from kdanalysis.integrations.recording import Recording
from kdanalysis.integrations.tokens import POSITIONS, select_tokens
from kdanalysis.losses import JSD, Loss


class RecordingCallback(DistillationCallback):
    """Opens a run when training starts, writes it before checkpoints, closes it at the end.

    A step is one of the optimizer. The tokens that the trainer's loss is over are its rows;
    generation and evaluation are none. Put ``RecordsDistillation`` or ``RecordsGKD`` before the
    trainer's class, which hands the tokens on.

    Args:
        path: the run folder.
        loss: that the residual is measured against; the trainer's own if None.
        options: keep (``kd.TopK(64)`` for vocabularies), schedule, max_rows, store and whatever
            else ``Recorder`` takes, but scaling, which the trainer knows.

    Raises:
        ValueError, FileExistsError: as ``DistillationCallback``, when training starts.
    """

    teacher = None  # it is the trainer's

    def __init__(self, path: str | Path, loss: Loss | None = None, **options: Any) -> None:
        self.recording = Recording(path, loss, None, options)

    def place_teacher(self, device: torch.device) -> None:
        """Leave the teacher where the trainer has put it."""


class _Records:
    """What the adapters share: the callback, the weight of a batch, and the end of a training."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.recording.loss is None:
            self.recording.loss = self.own_loss()

    @property
    def recording(self) -> Recording:
        """That of the callback.

        Raises:
            ValueError: there is none, or more than one.
        """
        callbacks = self.callback_handler.callbacks
        found = [one for one in callbacks if isinstance(one, RecordingCallback)]
        if len(found) != 1:
            raise ValueError(
                f"{type(self).__name__} needs one RecordingCallback in callbacks=, got {len(found)}"
            )
        return found[0].recording

    def own_loss(self) -> Loss:
        """Return the trainer's loss, which has no factor T^2."""
        raise NotImplementedError(f"{type(self).__name__} lacks own_loss")

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; after an exception the run is closed and no hook is left."""
        try:
            return super().train(*args, **kwargs)
        except BaseException as error:
            self.recording.close(error)
            raise

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with the norms of the terms and the residual in what is said of training."""
        if "loss" in logs or "train_loss" in logs:
            logs.update(self.recording.tally.take())
        super().log(logs, *args, **kwargs)

    def _records(self) -> bool:
        return self.model.training and self.recording.recorder is not None

    def _observe(
        self,
        sides: dict[str, Tensor | Projected],
        target: Tensor,
        sample_id: Tensor,
        items: Tensor | int | None,
    ) -> None:
        """Hand a batch on; its loss is the sum over tokens by ``items``, or their mean if None."""
        recording, scaler = self.recording, self.accelerator.scaler
        recording.begin(self.state.global_step, int(self.state.epoch or 0))
        count = max(len(target), 1)
        steps = self.current_gradient_accumulation_steps
        share = 1.0 / steps if items is None else count / float(items)

        def factor() -> float:
            return share * (1.0 if scaler is None else scaler.get_scale())

        recording.factor = factor
        recording.recorder.observe(target, sample_id, **sides)

    def _jsd(self, beta: float, temperature: float) -> Loss:
        return JSD(beta, temperature=temperature, weight=1 / temperature**2)


class RecordsDistillation(_Records):
    """Records what ``trl.DistillationTrainer`` distils; put it before that class.

        class Trainer(RecordsDistillation, trl.DistillationTrainer): ...
        recording = RecordingCallback("runs/distil", keep=kd.TopK(64), max_rows=256)
        Trainer(student, teacher_model=teacher, ..., callbacks=[recording]).train()

    Its logits are never made: hidden states and heads are, and the recorder makes the logits of the
    recorded rows alone. The rows are the completions' tokens that count in the loss.

    Raises:
        ValueError: the teacher is on a server, as that of ``ServerDistillationTrainer``.
    """

    _states: dict[str, Tensor] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.teacher_model is None:
            raise ValueError(
                f"{type(self).__name__} has no teacher here: a server gives a few of its "
                f"log-probabilities, and a run needs a logit of every class; hold kd.SparseTeacher "
                f"of them against the student's logits with kd.truncation"
            )

    def own_loss(self) -> Loss:
        """Return the generalised JSD with the trainer's beta and temperature."""
        return self._jsd(self.beta, self.temperature)

    def _get_last_hidden_state(self, unwrapped_model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        states = super()._get_last_hidden_state(unwrapped_model, *args, **kwargs)
        if self._states is None:
            return states
        flat = states.flatten(0, 1)  # the loss is made of this very tensor
        self._states["student" if torch.is_grad_enabled() else "teacher"] = flat
        return flat.view(states.shape)

    def _compute_loss(self, unwrapped_student: nn.Module, inputs: dict, items: Any) -> Any:
        if not self._records():
            return super()._compute_loss(unwrapped_student, inputs, items)
        self._states = states = {}
        try:
            found = super()._compute_loss(unwrapped_student, inputs, items)
        finally:
            self._states = None
        teacher = self.accelerator.unwrap_model(self.teacher_model)
        models = {"student": unwrapped_student, "teacher": teacher}
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        rows = mask.flatten().nonzero().squeeze(-1)
        sides = {name: _projected(one, states[name], rows) for name, one in models.items()}
        first = self.recording.number_rows(len(mask)).to(mask.device)
        ids = first.unsqueeze(1) * POSITIONS + torch.arange(mask.shape[1], device=mask.device)
        target = inputs["completion_ids"].flatten()[rows]
        self._observe(sides, target, ids.flatten()[rows], items)
        return found


def _projected(model: nn.Module, hidden: Tensor, rows: Tensor) -> Projected:
    """Return one side's logits of the rows as its configuration makes them.

    Raises:
        ValueError: the model scales its logits in a way that is not known here.
    """
    config, head = model.config.get_text_config(), model.get_output_embeddings()
    for name in ("output_multiplier", "lm_head_multiplier", "logits_scaling"):
        if getattr(config, name, None) is not None:
            raise ValueError(
                f"{type(model).__name__} changes its logits by {name}, which the recorder does not "
                f"know: record it in a loop of your own, with kd.Projected(scale=...)"
            )
    scale, cap = (
        getattr(config, "logit_scale", None),
        getattr(config, "final_logit_softcapping", None),
    )
    scale = 1.0 if scale is None else scale
    return Projected(hidden, head.weight, head.bias, rows, scale, cap)


class RecordsGKD(_Records):
    """Records what ``trl.experimental.gkd.GKDTrainer`` distils; put it before that class.

    The rows are the tokens whose label is not -100, on-policy or from the data set.
    """

    def own_loss(self) -> Loss:
        """Return the generalised JSD with the trainer's beta, at T = 1 as it calls it."""
        return self._jsd(self.beta, 1.0)

    def generalized_jsd_loss(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        num_items_in_batch: Any = None,
        **options: Any,
    ) -> Tensor:
        """Return the trainer's loss, over the labelled tokens; in training, record them."""
        rows = torch.arange(len(labels), device=labels.device)
        if records := self._records():
            rows = self.recording.number_rows(len(labels)).to(labels.device)
        tokens = select_tokens(student_logits, teacher_logits, labels, rows)
        if records:
            sides = {"student": tokens.student, "teacher": tokens.teacher}
            ids = tokens.sample_id + 1  # labels come without the first of a text
            self._observe(sides, tokens.target, ids, num_items_in_batch)
        sides = [one.unsqueeze(0) for one in (tokens.student, tokens.teacher, tokens.target)]
        return super().generalized_jsd_loss(
            *sides, num_items_in_batch=num_items_in_batch, **options
        )
