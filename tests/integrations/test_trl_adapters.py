"""TRL's adapters before a trainer that has what they ask for, where TRL itself is not installed."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import kdanalysis as kd
from kdanalysis.store.run import StoredRun

pytest.importorskip("transformers", reason="the extra transformers brings it")

from kdanalysis.integrations.trl import (
    RecordingCallback,
    RecordsDistillation,
    RecordsGKD,
)

TEXTS, LENGTH, CLASSES = 3, 5, 20
MASK = torch.ones(TEXTS, LENGTH, dtype=torch.long)
MASK[0, 3:] = 0


class Language(nn.Module):
    """A body and a head over tokens."""

    def __init__(self, seed: int, width: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.head = nn.Embedding(CLASSES, width), nn.Linear(width, CLASSES)
        self.config = SimpleNamespace(get_text_config=SimpleNamespace)

    def get_output_embeddings(self) -> nn.Module:
        return self.head


class Trainer:
    """A loop with what both adapters look at in TRL's trainers."""

    beta, temperature = 0.3, 1.0

    def __init__(self, teacher_model: nn.Module | None, callbacks: list) -> None:
        self.model, self.teacher_model = Language(0, 4), teacher_model
        self.callback_handler = SimpleNamespace(callbacks=callbacks)
        self.accelerator = SimpleNamespace(scaler=None, unwrap_model=lambda model: model)
        self.state = SimpleNamespace(global_step=0, epoch=0.0)
        self.current_gradient_accumulation_steps = 1

    def loss_of(self, student, teacher, labels):
        kept = labels != -100
        loss = kd.JSD(self.beta, temperature=self.temperature, weight=1 / self.temperature**2)
        return sum(loss(student[kept], teacher[kept], labels[kept]).values()).mean()

    def train(self):
        (callback,) = self.callback_handler.callbacks
        args, control = SimpleNamespace(n_gpu=0, device="cpu"), SimpleNamespace(should_save=False)
        callback.on_init_end(args, self.state, control)
        callback.on_train_begin(args, self.state, control, model=self.model)
        optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        for step in range(2):
            self.state.global_step = step
            generator = torch.Generator().manual_seed(step)
            self.step(torch.randint(CLASSES, (TEXTS, LENGTH), generator=generator)).backward()
            optimizer.step()
            optimizer.zero_grad()
            callback.on_step_end(args, self.state, control)
        callback.on_train_end(args, self.state, control)


class Distillation(Trainer):
    """Makes its loss of hidden states, as ``trl.DistillationTrainer`` does."""

    def step(self, ids):
        return self._compute_loss(
            self.model, {"completion_ids": ids, "completion_mask": MASK}, None
        )

    def _get_last_hidden_state(self, model, ids):
        return model.body(ids)

    def _compute_loss(self, student, inputs, items):
        ids, logits = inputs["completion_ids"], []
        for model in (student, self.teacher_model):
            with torch.set_grad_enabled(model is student):
                logits.append(model.head(self._get_last_hidden_state(model, ids)))
        return self.loss_of(*logits, ids.masked_fill(MASK == 0, -100))


class GKD(Trainer):
    """Shifts logits and labels of whole texts, as ``trl.experimental.gkd.GKDTrainer`` does."""

    def step(self, ids):
        student = self.model.head(self.model.body(ids))
        with torch.no_grad():
            teacher = self.teacher_model.head(self.teacher_model.body(ids))
        labels = ids.masked_fill(MASK == 0, -100)
        sides = student[:, :-1], teacher[:, :-1]
        return self.generalized_jsd_loss(*sides, labels=labels[:, 1:])

    def generalized_jsd_loss(self, student_logits, teacher_logits, labels, num_items_in_batch=None):
        return self.loss_of(student_logits, teacher_logits, labels)


class Distils(RecordsDistillation, Distillation):
    pass


class Generalises(RecordsGKD, GKD):
    pass


@pytest.mark.parametrize(("kind", "first"), [(Distils, 0), (Generalises, 1)])
def test_every_token_that_counts_is_a_row_and_the_residual_is_rounding(kind, first, tmp_path):
    recording = RecordingCallback(tmp_path / "run", schedule=kd.every(1))
    kind(Language(1, 6), [recording]).train()
    rows = next(StoredRun(tmp_path / "run").batches(["step", "sample_id", "target", "residual"]))
    places = [row * 2**20 + place for row in range(3) for place in range(first, LENGTH)
              if MASK[row, place]]  # fmt: skip
    for step in range(2):
        found = sorted((rows["sample_id"][rows["step"] == step] % (3 * 2**20)).tolist())
        assert found == places
    assert rows["residual"].max() < 1e-5


def test_a_trainer_without_a_teacher_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Distils has no teacher here: .* with kd.truncation"):
        Distils(None, [RecordingCallback(tmp_path / "run")])
