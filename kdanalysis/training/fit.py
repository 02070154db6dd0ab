"""The training loop: one network, one loss, resumable after every epoch.

Under ``torchrun`` the ranks train the network together; see ``parallel``.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdanalysis.core.ranks import RANKS
from kdanalysis.core.wording import differing, percent
from kdanalysis.data import DataSplits
from kdanalysis.training.checkpoint import read_checkpoint, save_checkpoint
from kdanalysis.training.parallel import images_a_rank, in_all_ranks, share_buffers
from kdanalysis.training.predict import accuracy, predict
from kdanalysis.training.settings import Settings

Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]
StepLoss = Callable[[Tensor, Tensor, Tensor, float], Tensor]


@contextmanager
def silent(label: str, total: int):
    """Show no progress."""
    yield lambda count, note="": None


@dataclass
class Fit:
    """One network in training: its optimizer, its place in the training, its checkpoint.

    Args:
        model: trained in place, on ``device``.
        data: trained on ``data.train``, measured on ``data.valid`` after every epoch.
        settings: epochs, rates and the rest.
        device: where to compute.
        path: the checkpoint, written after every epoch.
        facts: kept in the checkpoint: ``model`` is the network's name, ``classes`` its classes.
    """

    model: nn.Module
    data: DataSplits
    settings: Settings
    device: torch.device
    path: Path
    facts: dict[str, Any]
    epoch: int = 0
    step: int = 0
    history: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = {"momentum": 0.9, "nesterov": True, "weight_decay": self.settings.weight_decay}
        self.model.to(self.device, memory_format=torch.channels_last)
        rate = self.settings.learning_rate
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rate, **options)
        scaled = self.settings.amp and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self.beside: nn.Module | None = None
        self._whole = self.model

    @cached_property
    def trained(self) -> nn.Module:
        """What the loss has to call: the model or what runs it, under DDP if there are ranks."""
        return in_all_ranks(self._whole, self.device)

    def train_along(self, module: nn.Module, whole: nn.Module) -> None:
        """Train another module with the model, and keep it in the checkpoint; before ``resume``.

        Args:
            module: holds parameters of its own.
            whole: runs both, and holds the parameters of both.
        """
        self.beside, self._whole = module.to(self.device), whole
        self.optimizer.add_param_group({"params": list(module.parameters())})

    def resume(self) -> None:
        """Go on from the checkpoint where there is one.

        Raises:
            Ended: the ranks do not see the same checkpoint.
            ValueError: it belongs to another network or other settings.
        """
        if self.path.exists():
            self._read()
        RANKS.agree(f"{self.epoch} epochs in {self.path}")

    def _read(self) -> None:
        found = read_checkpoint(self.path)
        before, now = found["facts"], self.facts
        for name in (key for key in now if before.get(key) != now[key]):
            was, new = differing(before.get(name), now[name])
            raise ValueError(f"{self.path} cannot be resumed: its {name} is {was}, now it is {new}")
        self.model.load_state_dict(found["weights"])
        if self.beside is not None:
            self.beside.load_state_dict(found["beside"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.scaler.load_state_dict(found["scaler"])
        self.epoch, self.step, self.history = found["epoch"], found["step"], found["history"]

    def run(
        self,
        loss: StepLoss,
        label: str,
        progress: Progress = silent,
        before_save: Callable[[], None] = lambda: None,
    ) -> None:
        """Train to the last epoch.

        Args:
            loss: gives the loss of a batch of images, labels and sample ids at an epoch with its
                fraction; called inside autocast.
            label: what is trained, for the progress bar.
            progress: gives a context with a function to call with the number of images done, and
                after every epoch with a note of how far the training is.
            before_save: called before every checkpoint, to make safe what belongs to it.

        Raises:
            ValueError: the training diverged: logits are NaN or infinite after an epoch.
        """
        count = len(self.data.train)
        with progress(label, count * (self.settings.epochs - self.epoch)) as advance:
            while self.epoch < self.settings.epochs:
                self._train_epoch(loss, count, advance)
                self.epoch += 1
                share_buffers(self._whole)
                logits = predict(self.model, self.data.valid, self.device)
                if not np.isfinite(logits).all():
                    raise ValueError(
                        f"the training of {label} diverged in epoch {self.epoch}: its logits are "
                        f"no longer finite; learning rate {self.settings.learning_rate:g} is "
                        f"probably too high"
                    )
                self.history.append(accuracy(logits, self.data.valid.labels))
                before_save()
                RANKS.agree()  # what belongs to the checkpoint is safe in every rank
                if RANKS.first:
                    self._save()
                right = f"{percent(self.history[-1])} of the validation images right"
                advance(0, f"epoch {self.epoch} of {self.settings.epochs}, {right}")
        self.__dict__.pop("trained", None)  # DDP would outlive the group of its ranks

    def _train_epoch(self, loss: StepLoss, count: int, advance: Callable[..., None]) -> None:
        settings, seen = self.settings, 0
        options = {"seed": settings.seed, "epoch": self.epoch, "augment": settings.augment}
        options |= {"crops": settings.crops}
        options |= {"shard": (RANKS.rank, RANKS.world), "shuffle": True}
        self.model.train()
        if self.beside is not None:
            self.beside.train()
        for x, y, ids in self.data.train.batches(images_a_rank(settings.batch_size), **options):
            if len(y) > 1:  # batch normalisation has no statistics of a single image
                self._step(loss, (x, y, ids), self.epoch + seen / count)
            seen += len(y) * RANKS.world
            advance(len(y) * RANKS.world)

    def _step(
        self, loss: StepLoss, batch: tuple[Tensor, Tensor, Tensor], epoch: int | float
    ) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(epoch / self.settings.epochs)
        x, y, ids = batch
        x = x.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        y = y.to(self.device, non_blocking=True)
        half = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        with torch.autocast(self.device.type, half, enabled=self.settings.amp):
            value = loss(x, y, ids, epoch)
        self.scaler.scale(value).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.step += 1

    def _save(self) -> None:
        save_checkpoint(
            self.path,
            self.model,
            self.facts,
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            beside=None if self.beside is None else self.beside.state_dict(),
            epoch=self.epoch,
            step=self.step,
            history=self.history,
        )
