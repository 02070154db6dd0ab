"""The trainings of ``reproduce.py``: which losses, in which order, and how long they take."""

import json
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import logsumexp

import kdanalysis as kd
from kdanalysis.data import DataSplits, Images, subset
from kdanalysis.training import (
    Experiment,
    Settings,
    Stones,
    load_network,
    predict,
    run_experiment,
    train_teacher,
)

STUDENT, BLOCKS = "resnet8", "blocks:"  # before a loss: with stepping stones around it
MATRIX = {  # T = 4 everywhere; cross-entropy is added to each
    "ce": "ce",
    "kd": "kd",
    "kd x 6": "kd:weight=6",
    "tckd": "dkd:alpha=1,beta=0",
    "nckd": "dkd:alpha=0,beta=1",
    "dkd 1": "dkd:beta=1",
    "dkd 8": "dkd:beta=8",
    "dkd-top1 1": "dkd:partition=top1,beta=1",
    "dkd-top1 8": "dkd:partition=top1,beta=8",
    "gdkd 1/1/1": "gdkd:weights=1/1/1",
    "gdkd 1/1/8": "gdkd:weights=1/1/8",
    "gdkd3": "gdkd3",
    "nckd sure": "sure-dkd:alpha=0,beta=1,threshold={median}",
    "nckd unsure": "unsure-dkd:alpha=0,beta=1,threshold={median}",
    "sdd consistent": "sdd-kd:complementary_weight=0",
    "sdd complementary": "sdd-kd:consistent_weight=0",
    "sdd 1-2": "sdd-kd",
    "blocks": "blocks:kd",
}
SURE, MOST_EPOCHS = 0.8, 240  # of a teacher: mean confidence on training images


@dataclass(frozen=True)
class Matrix:
    """What is trained: every loss with every seed, all with one teacher on the same images.

    Args:
        data: the images.
        teacher: path of its checkpoint.
        losses: text by name; ``blocks:`` before it trains with stepping stones around it.
        settings: of every student, but for the seed.
        seeds: how many.
        out: folder of everything.
        device: where to compute.
    """

    data: DataSplits
    teacher: Path
    losses: dict[str, str]
    settings: Settings
    seeds: int
    out: Path
    device: torch.device

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Every loss with one seed first, then every loss with the next."""
        return ((name, seed) for seed in range(self.seeds) for name in self.losses)

    def folder(self, name: str, seed: int) -> Path:
        """Return where a training lies."""
        return self.out / "trainings" / f"{slug(name)}-{seed}"

    def result(self, name: str, seed: int) -> dict | None:
        """Return what a finished training gave; None where it is not finished."""
        path = self.folder(name, seed) / "result.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def train(self, name: str, seed: int) -> dict:
        """Train a student, or go on with it where a kill left it; its result is written last."""
        folder, start = self.folder(name, seed), time.process_time()
        layers = ("logits", "layer1", "layer2", "layer3", "fc") if seed == 0 else ()
        settings = replace(self.settings, seed=seed, record_layers=layers)
        experiment = self.experiment(self.losses[name], settings, self.data)
        outcome = run_experiment(experiment, folder, self.device, resume=True)
        (run,) = outcome.runs
        accuracy, agreement = outcome.students.iloc[1][["accuracy", "agreement"]]
        self.look_at_regions(experiment, run, folder)
        result = {"student": name, "loss": self.losses[name], "seed": seed, "name": run}
        result |= {"accuracy": accuracy, "agreement": agreement}
        result |= {"cpu_seconds": round(time.process_time() - start, 1)}
        temporary = folder / ".result.json"
        temporary.write_text(json.dumps(result, allow_nan=False))
        temporary.replace(folder / "result.json")
        return result

    def look_at_regions(self, experiment: Experiment, run: str, folder: Path) -> None:
        """Keep what a student of SDD or plain KD says of the cells, as tables beside its run."""
        (loss,), side = experiment.named_losses().values(), self.data.train.image_shape[-1]
        if (loss.scales is None and experiment.losses[0] != "kd") or experiment.stones:
            return
        scales = loss.scales or [m for m in (1, 2, 4) if 4 * m <= side]
        teacher = load_network(self.teacher, self.data).eval()
        student, how = folder / "students" / f"{run}.pt", {"scales": scales, "images": 0}
        study = kd.regions(teacher, self.data, student, **how, device=self.device)
        (folder / "tables").mkdir(exist_ok=True)
        for noun, table in study.tables.items():
            table.to_csv(folder / "tables" / f"regions_{noun}.csv", index=False)

    def experiment(self, text: str, settings: Settings, data: DataSplits) -> Experiment:
        """Return the experiment of one loss; stones run the teacher, all others read its logits."""
        stones, cache = (Stones(), None) if text.startswith(BLOCKS) else (None, self.out / "cache")
        losses = [text.removeprefix(BLOCKS)]
        teacher = str(self.teacher)
        return Experiment(data, teacher, STUDENT, losses, settings, stones=stones, cache=cache)

    def seconds(self) -> dict[str, float]:
        """Measure how long one epoch of each loss takes here, from some steps of each kind."""
        batches = 8 * self.settings.batch_size
        whole = len(self.data.train) / min(batches, len(self.data.train))
        small = fewer(self.data, batches, max(2, round(len(self.data.valid) / whole)))
        settings = replace(self.settings, epochs=1)
        kinds = {text: re.match(r"blocks:|sdd-|ce$|", text)[0] for text in self.losses.values()}
        found = {}
        for text, kind in kinds.items():
            if kind in found:
                continue
            with tempfile.TemporaryDirectory() as folder:
                own = replace(self, out=Path(folder))
                experiment = own.experiment(text, settings, small)
                took = []
                for part in ("first", "second", "third"):  # the first makes the teacher's logits
                    start = time.perf_counter()
                    run_experiment(experiment, Path(folder) / part, self.device)
                    took.append(time.perf_counter() - start)
                found[kind] = min(took)  # a pause of the machine in one of them does not count
        return {name: whole * found[kinds[text]] for name, text in self.losses.items()}


def slug(name: str) -> str:
    """Return the name as a part of a path."""
    return re.sub("[^a-z0-9.]+", "-", name.lower())


def fewer(data: DataSplits, train: int | None, valid: int | None = None) -> DataSplits:
    """Keep so many images of both parts, in the proportions of the classes."""
    kept = []
    for images, count in ((data.train, train), (data.valid, valid)):
        chosen = subset(images.labels, count, seed=0)
        part = images.pixels[torch.from_numpy(chosen)], images.labels[chosen]
        kept.append(Images(*part, data.mean, data.std, images.mirror))
    return replace(data, train=kept[0], valid=kept[1])


def log_odds(logits: Float[np.ndarray, "n c"], target: np.ndarray) -> Float[np.ndarray, " n"]:
    """Log odds of the label, in float64: they resolve what is nearly certain."""
    logits = logits.astype(np.float64)
    label = np.arange(logits.shape[1]) == target[:, None]
    return logits[label] - logsumexp(np.where(label, -np.inf, logits), -1)


def confidence(logits: Float[np.ndarray, "n c"]) -> float:
    """Mean of the largest probability at T = 1."""
    logits = logits.astype(np.float64)
    return float(np.exp(logits.max(-1) - logsumexp(logits, -1)).mean())


def sure_teacher(
    data: DataSplits, name: str, epochs: int, settings: Settings, out: Path, device: torch.device
) -> Path:
    """Train a teacher, twice as long again and again until it is sure of its training images.

    Raises:
        ValueError: 240 epochs do not make it sure.
    """
    while epochs <= MOST_EPOCHS:
        folder = out / f"teacher-{name}-{epochs}"
        experiment = Experiment(data, name, STUDENT, ["kd"], settings, teacher_epochs=epochs)
        model = train_teacher(experiment, folder, device, resume=True)
        sure = confidence(predict(model, data.train, device))
        print(f"teacher {name}, {epochs} epochs: mean confidence {sure:.3f} on training images")
        if sure >= SURE:
            return folder / "teacher.pt"
        epochs *= 2
    raise ValueError(f"{name} is not sure of its training images after {MOST_EPOCHS} epochs")


def shortened(matrix: Matrix, plan: dict) -> str:
    """Say what is missing of the wanted epochs and seeds; "" where nothing is."""
    epochs, seeds = plan["epochs wanted"], plan["seeds wanted"]
    done = [sum(matrix.result(n, s) is not None for s in range(seeds)) for n in matrix.losses]
    told = [f"{plan['epochs']} of {epochs} epochs"] if plan["epochs"] < epochs else []
    least, most = min(done), max(done)
    span = f"{least}" if least == most else f"{least} to {most}"
    told += [f"{span} of {seeds} seeds"] if least < seeds else []
    return ", ".join(told)
