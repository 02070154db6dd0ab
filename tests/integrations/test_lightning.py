"""The Lightning callback records what trains, logs what the run says, and changes nothing."""

import csv
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset
from toy import network

from kdanalysis import (
    GDKD,
    CrossEntropy,
    Layers,
    Side,
    Store,
    Sum,
    at,
    every,
    linear_ramp,
    logarithmic,
    open_run,
)
from kdanalysis.integrations.lightning import DistillationCallback
from kdanalysis.integrations.tokens import select_tokens

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))
pytestmark = [
    # Lightning 2.6 uses a class of torch's trees that torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    # Lightning's advice, right for long trainings: a loader of 24 rows needs no workers, and a
    # teacher is in evaluation mode on purpose.
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Found 6 module.* in eval mode at the start"),
]


class Module(LightningModule):
    """A student with dropout; the loss is its own, or the callback's."""

    def __init__(self, callback: DistillationCallback | None = None, stop_at: int = -1) -> None:
        super().__init__()
        self.student, self.teacher = network(0, dropout=0.3), network(1).eval()
        self.teacher.requires_grad_(False)
        self.seen, self._ask, self.stop_at = [], callback, stop_at

    def training_step(self, batch, batch_idx):
        if self.global_step == self.stop_at:
            raise KeyError("the step that fails")
        x, y, index = batch
        student, teacher = self.student(x), self.teacher(x)
        self.seen.append((self.global_step, student.detach().clone(), teacher, y, index))
        if self._ask is not None:
            return self._ask.loss(y, index)
        return sum(LOSS(student, teacher, y).values()).mean()

    def validation_step(self, batch, batch_idx):
        self.student(batch[0]), self.teacher(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.student.parameters(), lr=0.1, momentum=0.9)


def loader(rows: int = 24) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 8, generator=generator)
    y = torch.randint(6, (rows,), generator=generator)
    return DataLoader(TensorDataset(x, y, 100 + torch.arange(rows)), batch_size=8)


def trainer(tmp_path, *callbacks, **options) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    fixed = {"accelerator": "cpu", "default_root_dir": tmp_path, "enable_checkpointing": False}
    return Trainer(**({"max_epochs": 2, "callbacks": list(callbacks)} | quiet | fixed | options))


def fit(tmp_path, module=None, options=None, **recording) -> Module:
    """Two epochs of three steps, recorded into ``run``."""
    recording = {"schedule": every(1), "store": Store("float32")} | recording
    callback = DistillationCallback(tmp_path / "run", LOSS, **recording)
    module = Module() if module is None else module
    torch.manual_seed(5)
    trainer(tmp_path, callback, **(options or {})).fit(module, loader(), loader())
    return module


def log(tmp_path) -> list[dict[str, str]]:
    """What the CSV logger got from the callback."""
    with (tmp_path / "lightning_logs/version_0/metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["kd/residual"]]


def rows(tmp_path) -> dict[str, np.ndarray]:
    columns = ("step", "epoch", "sample_id", "target", "teacher_logits", "student_logits")
    (found,) = open_run(tmp_path / "run").batches((*columns, "residual"), 100_000)
    return found


@pytest.mark.parametrize("asks", [False, True], ids=["own loss", "callback's loss"])
def test_what_trains_is_recorded_and_nothing_else(tmp_path, asks):
    callback = DistillationCallback(
        tmp_path / "run", LOSS, schedule=every(1), store=Store("float32")
    )
    module = Module(callback if asks else None)
    trainer(tmp_path, callback).fit(module, loader(), loader())
    found = rows(tmp_path)
    steps, student, teacher, target, index = zip(*module.seen, strict=True)
    assert found["step"].tolist() == np.repeat(range(6), 8).tolist() == np.repeat(steps, 8).tolist()
    assert found["epoch"].tolist() == np.repeat([0, 1], 24).tolist()
    assert found["sample_id"].tolist() == torch.cat(index).tolist()
    assert found["target"].tolist() == torch.cat(target).tolist()
    np.testing.assert_array_equal(found["student_logits"], torch.cat(student).numpy())
    np.testing.assert_array_equal(found["teacher_logits"], torch.cat(teacher).numpy())
    assert found["residual"].max() < 1e-5


def test_training_is_bit_equal_with_and_without_the_callback(tmp_path):
    def weights(*callbacks) -> list[torch.Tensor]:
        module = Module()
        torch.manual_seed(5)
        trainer(tmp_path, *callbacks).fit(module, loader(), loader())
        return [*module.student.state_dict().values(), torch.get_rng_state()]

    bare = weights()
    watched = weights(DistillationCallback(tmp_path / "run", LOSS, schedule=every(1)))
    assert all(torch.equal(a, b) for a, b in zip(watched, bare, strict=True))
    assert len(rows(tmp_path)["step"]) == 48  # the control: it did record
    other = Module().student.state_dict()  # the control: training moves the weights
    assert not torch.equal(other["0.weight"], bare[0])


def test_logs_hold_the_mean_norms_of_the_steps_since_the_last_log(tmp_path):
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    fit(tmp_path, options={"logger": logger, "log_every_n_steps": 2, "max_steps": 5})
    logged = log(tmp_path)
    assert [int(row["step"]) for row in logged] == [1, 3, 4]
    found = rows(tmp_path)
    for row, steps in zip(logged, ([0, 1], [2, 3], [4]), strict=True):
        chosen = np.isin(found["step"], steps)
        student = torch.from_numpy(found["student_logits"][chosen]).double().requires_grad_()
        teacher, target = (torch.from_numpy(found[n][chosen]) for n in ("teacher_logits", "target"))
        for name, value in LOSS(student, teacher.double(), target).items():
            (gradient,) = torch.autograd.grad(value.sum(), student, retain_graph=True)
            expected = gradient.norm(dim=-1).mean().item()
            assert float(row[f"kd/norm/{name}"]) == pytest.approx(expected)
        assert float(row["kd/residual"]) == pytest.approx(found["residual"][chosen].max())
        assert "kd/non_finite" not in row


def test_batches_accumulated_for_a_step_are_recorded_under_it(tmp_path):
    def without_ids(batch):
        return batch[1], None

    module = fit(tmp_path, options={"accumulate_grad_batches": 3}, unpack=without_ids)
    found = rows(tmp_path)
    assert [step for step, *_ in module.seen] == [0, 0, 0, 1, 1, 1]
    assert found["step"].tolist() == np.repeat([0, 1], 24).tolist()
    assert found["sample_id"].tolist() == [*range(24), *range(24)]
    assert found["residual"].max() < 1e-5


def test_a_step_of_several_batches_is_logged_once_and_whole(tmp_path):
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    options = {"logger": logger, "log_every_n_steps": 1, "accumulate_grad_batches": 3}
    fit(tmp_path, options=options)
    logged, found = log(tmp_path), rows(tmp_path)
    assert [int(row["step"]) for row in logged] == [0, 1]
    for row, step in zip(logged, (0, 1), strict=True):
        chosen = found["step"] == step
        assert float(row["kd/residual"]) == pytest.approx(found["residual"][chosen].max())


def test_manual_optimization_with_several_backward_passes_is_recorded_as_one_batch(tmp_path):
    class Manual(Module):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            x, y, _ = batch
            student, teacher = self.student(x), self.teacher(x)
            for value in LOSS(student, teacher, y).values():
                self.manual_backward(value.mean(), retain_graph=True)
            optimizer = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()

    fit(tmp_path, Manual())
    found = rows(tmp_path)
    assert found["step"].tolist() == np.repeat(range(6), 8).tolist()
    assert found["residual"].max() < 1e-5


def test_the_factor_of_a_gradient_scaler_is_divided_out(tmp_path):
    class Scaled(Module):
        def on_train_start(self):
            plugin = self.trainer.precision_plugin
            plugin.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
            before = plugin.pre_backward
            plugin.pre_backward = lambda loss, module: before(plugin.scaler.scale(loss), module)

    fit(tmp_path, Scaled())
    assert rows(tmp_path)["residual"].max() < 1e-5


def test_the_warm_up_follows_the_epoch(tmp_path):
    class Ramped(Module):
        def training_step(self, batch, batch_idx):
            student, teacher = self.student(batch[0]), self.teacher(batch[0])
            ramp = linear_ramp(self.current_epoch, 4)
            return sum(LOSS(student, teacher, batch[1], ramp).values()).mean()

    fit(tmp_path, Ramped(), ramp=lambda epoch: linear_ramp(epoch, 4))
    assert rows(tmp_path)["residual"].max() < 1e-5


def hooks(model: torch.nn.Module) -> int:
    modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return modules + sum(len(p._post_accumulate_grad_hooks or ()) for p in model.parameters())


def test_no_hook_is_left_after_training_or_an_exception_in_it(tmp_path):
    assert hooks(fit(tmp_path / "whole")) == 0
    module = Module(stop_at=4)
    with pytest.raises(KeyError, match="the step that fails"):
        fit(tmp_path / "failed", module)
    assert hooks(module) == 0
    assert open_run(tmp_path / "failed" / "run").steps().tolist() == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_training_that_goes_on_from_a_checkpoint_goes_on_with_the_run(tmp_path):
    def fit_with_checkpoints(module, **fit_options):
        callback = DistillationCallback(
            tmp_path / "run", LOSS, schedule=every(1), store=Store("float32")
        )
        keep = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, every_n_train_steps=3)
        options = {"enable_checkpointing": True, "max_epochs": 2}
        trainer(tmp_path, callback, keep, **options).fit(module, loader(), loader(), **fit_options)

    with pytest.raises(KeyError):
        fit_with_checkpoints(Module(stop_at=5))
    with pytest.raises(FileExistsError, match="already holds a run"):
        fit_with_checkpoints(Module())
    checkpoint = tmp_path / "kept" / "epoch=0-step=3.ckpt"
    fit_with_checkpoints(Module(), ckpt_path=checkpoint)
    found = rows(tmp_path)
    assert found["step"].tolist() == np.repeat(range(6), 8).tolist()
    assert found["residual"].max() < 1e-5


def test_what_was_captured_before_a_checkpoint_is_on_the_disk(tmp_path):
    class Looking(Module):
        def on_save_checkpoint(self, checkpoint):  # called after the callbacks
            self.on_disk = open_run(tmp_path / "run").steps().tolist()

    module = Looking()
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=4, save_on_train_epoch_end=False)
    callback = DistillationCallback(tmp_path / "run", LOSS, schedule=every(1))
    trainer(tmp_path, callback, keep, enable_checkpointing=True).fit(module, loader(), loader())
    assert module.on_disk == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")  # as it is meant to here
def test_a_batch_that_the_module_leaves_out_is_not_recorded(tmp_path):
    class Picky(Module):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 1 else loss

    fit(tmp_path, Picky())
    assert sorted(set(rows(tmp_path)["sample_id"])) == [*range(100, 108), *range(116, 124)]


def test_a_trial_run_writes_nothing(tmp_path):
    fit(tmp_path, options={"fast_dev_run": True})
    assert not (tmp_path / "run").exists()


def test_the_teacher_is_put_into_evaluation_mode(tmp_path):
    module = Module()
    module.teacher.train()
    before = module.teacher[1].running_mean.clone()
    fit(tmp_path, module)
    assert not any(part.training for part in module.teacher.modules())
    assert torch.equal(module.teacher[1].running_mean, before)
    assert module.student.training  # the control


def test_a_student_that_the_module_has_not_is_named(tmp_path):
    message = "Module has no model named 'backbone': say student=.*it has: student, teacher"
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, student="backbone")


def test_models_may_be_given_themselves(tmp_path):
    module = Module()
    fit(tmp_path, module, student=module.student, teacher=module.teacher)
    assert rows(tmp_path)["residual"].max() < 1e-5


def test_a_side_names_the_model_and_the_layer_that_gives_its_logits(tmp_path):
    module = fit(tmp_path, student=Side("student", layer="4"), keep=Layers("4"))
    found = rows(tmp_path)
    expected = torch.cat([student for _, student, *_ in module.seen])
    np.testing.assert_array_equal(found["student_logits"], expected)
    assert found["residual"].max() < 1e-5
    assert set(open_run(tmp_path / "run").table("layers").layer) == {"4"}


def test_logits_may_be_given_such_as_those_of_tokens(tmp_path):
    class Tagger(Module):
        """Every row of a batch is a sentence of two tokens, the second unlabelled in odd rows."""

        def training_step(self, batch, batch_idx):
            x, y, index = batch
            student, teacher = (m(x).unflatten(0, (-1, 2)) for m in (self.student, self.teacher))
            labels = y.unflatten(0, (-1, 2)).clone()
            labels[1::2, 1] = -100
            tokens = select_tokens(student, teacher, labels, index[::2])
            sides = {"student": tokens.student, "teacher": tokens.teacher}
            return callback.loss(tokens.target, tokens.sample_id, **sides)

    options = {"schedule": every(1), "store": Store("float32"), "student": None, "teacher": None}
    callback = DistillationCallback(tmp_path / "run", LOSS, **options)
    trainer(tmp_path, callback, max_epochs=1).fit(Tagger(), loader(), loader())
    found = rows(tmp_path)
    row, position = np.divmod(found["sample_id"], 2**20)
    first = [(100, 0), (100, 1), (102, 0), (104, 0), (104, 1), (106, 0)]
    assert list(zip(row, position, strict=True))[:6] == first
    assert len(row) == 18
    assert found["residual"].max() < 1e-5


def test_the_callback_can_be_pickled_for_processes_that_are_spawned(tmp_path):
    schedules = (None, every(2), at([1]), logarithmic(3))
    for schedule in schedules:
        callback = DistillationCallback(tmp_path / "run", LOSS, schedule=schedule)
        pickle.loads(pickle.dumps(callback))


def test_asking_for_the_loss_outside_training_is_an_error(tmp_path):
    callback = DistillationCallback(tmp_path / "run", LOSS)
    with pytest.raises(RuntimeError, match=r"callback\.loss was called outside training"):
        callback.loss(torch.tensor([0]))


def test_each_rank_of_a_ddp_training_records_its_own_samples(tmp_path):
    program = Path(__file__).with_name("lightning_in_ranks.py")
    subprocess.run([sys.executable, program, tmp_path], check=True, capture_output=True)
    found = rows(tmp_path)
    assert sorted(found["sample_id"]) == list(range(16))
    assert found["step"].tolist() == np.repeat([0, 1], 8).tolist()
    assert found["residual"].max() < 1e-5
    assert open_run(tmp_path / "run").info.world_size == 2
