"""Trains in two processes with Lightning, recorded: python lightning_in_ranks.py FOLDER."""

import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kdanalysis import (
    KD,
    Store,
    every,
)
from kdanalysis.integrations.lightning import DistillationCallback


class Module(LightningModule):
    def __init__(self, callback: DistillationCallback) -> None:
        super().__init__()
        self.student, self.teacher, self.ask = nn.Linear(4, 3), nn.Linear(4, 3), callback
        self.teacher.requires_grad_(False)

    def training_step(self, batch, batch_idx):
        self.student(batch[0]), self.teacher(batch[0])
        return self.ask.loss(batch[1], batch[2])

    def configure_optimizers(self):
        return torch.optim.SGD(self.student.parameters(), lr=0.1)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    rows = TensorDataset(torch.randn(16, 4), torch.arange(16) % 3, torch.arange(16))
    callback = DistillationCallback(folder / "run", KD(), schedule=every(1), store=Store("float32"))
    Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",
        max_epochs=1,
        callbacks=[callback],
        logger=CSVLogger(folder),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
    ).fit(Module(callback), DataLoader(rows, batch_size=4))
