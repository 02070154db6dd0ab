"""Distil with Lightning, recorded: a ResNet-8 learns scikit-learn's digits from a ResNet-14.

    python scripts/lightning_example.py --out lightning-example
    python scripts/lightning_example.py --data images/ --epochs 30 --out images-example

Half a minute on one CPU core, no network; needs pip install 'kdanalysis[lightning]'. ``--data``
takes what ``kdanalysis train`` takes. What is ours are the lines that name the callback.
"""

import argparse
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import kdanalysis as kd
from kdanalysis.data import DataSplits, load_data
from kdanalysis.integrations.lightning import DistillationCallback
from kdanalysis.networks.zoo import build_model

LOSS = kd.Sum(kd.CrossEntropy(), kd.GDKD(k=3, weights=(1, 1, 2)))


class Learner(LightningModule):
    """Trains a network with cross-entropy, or with LOSS where there is a teacher."""

    def __init__(self, student: nn.Module, data: DataSplits, teacher: nn.Module | None) -> None:
        super().__init__()
        self.student, self.teacher, self.data = student, teacher, data

    def training_step(self, batch, batch_idx):
        """Compute the loss; the callback sees both models' logits and the labels of the batch."""
        x, y = self.data.train.normalise(batch[0]), batch[1]
        student = self.student(x)
        if self.teacher is None:
            return cross_entropy(student, y)
        with torch.no_grad():
            teacher = self.teacher(x)
        loss = sum(LOSS(student, teacher, y).values()).mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        """Log the accuracy."""
        logits = self.student(self.data.train.normalise(batch[0]))
        self.log("accuracy", (logits.argmax(-1) == batch[1]).float().mean())

    def configure_optimizers(self):
        """Train the student alone."""
        return torch.optim.SGD(self.student.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)


def fit(student, data, teacher=None, *, epochs: int, out: Path, callbacks=()) -> nn.Module:
    """Train on images as ``(pixels, label, sample id)``, validate, and return the network."""
    train = DataLoader(data.train, batch_size=64, shuffle=True)
    trainer = Trainer(
        max_epochs=epochs,
        log_every_n_steps=10,
        callbacks=list(callbacks),
        logger=CSVLogger(out),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Learner(student, data, teacher), train, DataLoader(data.valid, batch_size=256))
    print(f"accuracy {trainer.callback_metrics['accuracy']:.3f}, logs in {trainer.log_dir}")
    return student


def main() -> None:
    """Train the teacher, distil the student, and print what the run says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    seed_everything(0)

    data = load_data(args.data)
    classes = len(data.classes)
    options = {"epochs": args.epochs, "out": args.out}
    teacher = fit(build_model("resnet14", classes), data, **options)
    recording = {"schedule": kd.every(5), "store": kd.Store(classes=data.classes)}
    callback = DistillationCallback(args.out / "run", LOSS, **recording)
    fit(build_model("resnet8", classes), data, teacher, **options, callbacks=[callback])

    print(kd.open_run(args.out / "run").table("agreement").tail(3).to_string(index=False))
    print(f"the page: kdanalysis report {args.out / 'run'} -o {args.out / 'report.html'}")


if __name__ == "__main__":
    main()
