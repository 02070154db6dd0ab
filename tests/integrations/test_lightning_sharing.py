"""The Lightning callback beside modules that both sides use, and optimizers with closures."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kdanalysis import KD, Store, every, open_run
from kdanalysis.integrations.lightning import DistillationCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Found .* module.* in eval mode at the start"),
]
SHARED = "is the student's too, so its mode is that of both"


class Shared(LightningModule):
    """A student and a teacher on one body with dropout and batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))
        self.student = nn.Sequential(body, nn.Linear(16, 6))
        self.teacher = nn.Sequential(body, nn.Linear(16, 6), nn.Dropout(0.5))
        self.teacher[1:].eval()

    def training_step(self, batch, batch_idx):
        teacher, student = self.teacher(batch[0]).detach(), self.student(batch[0])
        return sum(KD()(student, teacher, batch[1]).values()).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.student.parameters(), lr=0.1)


class Closing(LightningModule):
    """LBFGS, which runs the closure that Lightning gives it four times a step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.student, self.teacher = nn.Linear(8, 6), nn.Linear(8, 6).requires_grad_(False)
        self.seen, self.ask = [], None

    def training_step(self, batch, batch_idx):
        x, y, index = batch
        student, teacher = self.student(x), self.teacher(x)
        self.seen.append((self.global_step, student.detach().clone()))
        if self.ask is not None:
            return self.ask.loss(y, index)
        return sum(KD()(student, teacher, y).values()).mean()

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.student.parameters(), lr=0.1, max_iter=4)


def fit(tmp_path, module, *callbacks) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(24, 8, generator=generator), torch.randint(6, (24,), generator=generator)
    data = DataLoader(TensorDataset(x, y, torch.arange(24)), batch_size=8)
    torch.manual_seed(5)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    fixed = {"accelerator": "cpu", "default_root_dir": tmp_path, "enable_checkpointing": False}
    Trainer(max_epochs=1, callbacks=list(callbacks), **quiet, **fixed).fit(module, data)


@pytest.mark.filterwarnings(f"ignore:.*{SHARED}")
def test_training_on_a_shared_body_is_bit_equal_with_and_without_the_callback(tmp_path):
    def weights(*callbacks) -> list[torch.Tensor]:
        module = Shared()
        fit(tmp_path, module, *callbacks)
        return [*module.state_dict().values(), torch.get_rng_state()]

    bare = weights()
    watched = weights(DistillationCallback(tmp_path / "run", KD(), schedule=every(1)))
    assert all(torch.equal(a, b) for a, b in zip(watched, bare, strict=True))


def test_the_modules_of_both_are_named(tmp_path):
    callback = DistillationCallback(tmp_path / "run", KD(), schedule=every(1))
    with pytest.warns(RuntimeWarning, match=SHARED):
        fit(tmp_path, Shared(), callback)


@pytest.mark.parametrize("asks", [False, True], ids=["own loss", "callback's loss"])
def test_a_step_is_the_first_pass_of_its_closure(tmp_path, asks):
    callback = DistillationCallback(
        tmp_path / "run", KD(), store=Store("float32"), schedule=every(1)
    )
    module = Closing()
    module.ask = callback if asks else None
    fit(tmp_path, module, callback)
    (rows,) = open_run(tmp_path / "run").batches(("step", "sample_id", "student_logits"), 1000)
    assert rows["step"].tolist() == np.repeat(range(3), 8).tolist()
    assert rows["sample_id"].tolist() == list(range(24))
    first = {step: logits for step, logits in reversed(module.seen)}
    assert len(module.seen) > 3  # the control: the closure ran again
    np.testing.assert_array_equal(rows["student_logits"], torch.cat([first[s] for s in range(3)]))
