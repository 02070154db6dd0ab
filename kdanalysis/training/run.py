"""The training of an experiment: the teacher, then every student under a recorder."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from kdanalysis.capture import Layers, Recorder, Regions, Scaling, Store, every
from kdanalysis.data import DataSplits
from kdanalysis.losses import Loss
from kdanalysis.networks.zoo import MODELS, build_model
from kdanalysis.training.cached import CachedTeacher, said_once
from kdanalysis.training.checkpoint import load_network
from kdanalysis.training.experiment import Experiment
from kdanalysis.training.fit import Fit, Progress, silent
from kdanalysis.training.predict import accuracy, predict_pooled, save_logits
from kdanalysis.training.settings import Settings
from kdanalysis.training.stones import TrainedLadder


@dataclass(frozen=True)
class Outcome:
    """Where the results lie.

    ``students`` has columns network, accuracy and agreement (share of validation images on which
    student and teacher name the same class); the first row is the teacher. ``ladders`` holds those
    of students with stepping stones.
    """

    runs: dict[str, Path]
    logits: dict[str, Path]
    students: pd.DataFrame
    ladders: dict[str, TrainedLadder] = field(default_factory=dict)


def run_experiment(
    experiment: Experiment,
    folder: Path,
    device: torch.device,
    *,
    resume: bool = False,
    progress: Progress = silent,
    taught: Callable[[Path], object] = lambda logits: None,
) -> Outcome:
    """Train the teacher, then every student under a recorder, into ``folder``.

    ``teacher.pt`` and ``students/NAME.pt`` are checkpoints, ``runs/NAME`` the captured runs, and
    ``logits/NAME.npz`` teacher and student logits over the validation images, with the labels and
    the pooled features of both.

    Args:
        experiment: what is trained.
        folder: where the results go.
        device: where to compute.
        resume: go on from the checkpoints that are there.
        progress: shows how far each training is; see ``Fit.run``.
        taught: called with the file of the teacher's logits before the students are trained.
    """
    data = experiment.data
    teacher = train_teacher(experiment, folder, device, resume, progress)
    if experiment.cache is None:
        said, pooled = predict_pooled(teacher, data.valid, device)
    else:
        said, pooled = said_once(teacher, data.valid, device, experiment.cache)
    seen = {"teacher_logits": said, "target": data.valid.labels, "teacher_features": pooled}
    seen["classes"] = np.array(data.classes)
    save_logits(folder / "logits" / "teacher.npz", **seen)
    taught(folder / "logits" / "teacher.npz")
    rows, ladders = [("teacher", accuracy(said, data.valid.labels), 1.0)], {}
    for name, loss in experiment.named_losses().items():
        student, ladder = train_student(
            experiment, name, loss, teacher, folder, device, resume, progress
        )
        ladders |= {} if ladder is None else {name: ladder}
        learned, pooled = predict_pooled(student, data.valid, device)
        own = {"student_logits": learned, "student_features": pooled}
        save_logits(folder / "logits" / f"{name}.npz", **seen, **own)
        agreement = float((learned.argmax(-1) == said.argmax(-1)).mean())
        rows.append((name, accuracy(learned, data.valid.labels), agreement))
    names = experiment.named_losses()
    return Outcome(
        runs={name: folder / "runs" / name for name in names},
        logits={name: folder / "logits" / f"{name}.npz" for name in ("teacher", *names)},
        students=pd.DataFrame(rows, columns=["network", "accuracy", "agreement"]),
        ladders=ladders,
    )


def train_teacher(
    experiment: Experiment,
    folder: Path,
    device: torch.device,
    resume: bool,
    progress: Progress = silent,
) -> nn.Module:
    """Return the teacher in evaluation mode, frozen: trained, or read from its checkpoint."""
    data, name = experiment.data, experiment.teacher
    if name in MODELS:
        epochs = experiment.teacher_epochs or experiment.settings.epochs
        settings = replace(experiment.settings, epochs=epochs)
        fit = _fit(data, name, settings, device, folder / "teacher.pt")
        if resume:
            fit.resume()
        loss = nn.CrossEntropyLoss()
        fit.run(lambda x, y, ids, epoch: loss(fit.trained(x), y), f"teacher {name}", progress)
        model = fit.model
    else:
        model = load_network(Path(name), data)
    return model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def train_student(
    experiment: Experiment,
    name: str,
    loss: Loss,
    teacher: nn.Module,
    folder: Path,
    device: torch.device,
    resume: bool,
    progress: Progress,
) -> tuple[nn.Module, TrainedLadder | None]:
    """Train a student under a recorder; return it, and its ladder where it has stones."""
    data, settings = experiment.data, experiment.settings
    fit = _fit(data, experiment.student, settings, device, folder / "students" / f"{name}.pt")
    stones = experiment.stones
    ladder = None if stones is None else TrainedLadder(stones, fit, teacher, loss)
    if resume:
        fit.resume()
    cached = _cached(experiment, loss, teacher, device)
    facts = {"data": data.name, "student": experiment.student, **settings.to_json()}
    existing = "resume" if resume else "error"
    recorder = Recorder(
        folder / "runs" / name,
        loss,
        student=fit.trained if ladder is None else fit.model,
        teacher=teacher,
        keep=_kept(loss, settings),
        schedule=every(settings.record_every),
        max_rows=settings.record_rows,
        seed=settings.seed,
        store=Store(existing=existing, classes=data.classes, settings=facts),
        scaling=Scaling(fit.scaler if fit.scaler.is_enabled() else None),
    )
    recorder.step = fit.step

    def step_loss(x: Tensor, y: Tensor, ids: Tensor, epoch: int | float) -> Tensor:
        recorder.epoch = int(epoch)
        logits = given(x, ids, int(epoch)) if ladder is None else ladder(x)
        return recorder.loss(y, sample_id=ids, ramp=settings.ramp(epoch), **logits)

    def given(x: Tensor, ids: Tensor, epoch: int) -> dict[str, Tensor]:
        """Run the student, and the teacher where its logits are not given; hooks see them."""
        fit.trained(x)
        if cached is not None:
            return {"teacher": cached(ids, epoch)}
        with torch.no_grad():
            teacher(x)
        return {}

    def before_save() -> None:
        recorder.flush()
        if ladder is not None:
            ladder.measure()

    with recorder:
        fit.run(step_loss, f"student {name}", progress, before_save)
    return fit.model, ladder


def _cached(
    experiment: Experiment, loss: Loss, teacher: nn.Module, device: torch.device
) -> CachedTeacher | None:
    """Return the teacher's logits on all training images, or of their regions; None: it runs."""
    if experiment.cache is None:
        return None
    settings = experiment.settings
    scales = loss.scales or settings.kept_scales(loss)
    how = settings.seed, settings.augment
    return CachedTeacher(teacher, experiment.data.train, device, experiment.cache, scales, *how)


def _kept(loss: Loss, settings: Settings) -> list[Layers | Regions]:
    """Return what the run keeps beside the logits."""
    scales = settings.kept_scales(loss)
    layers = [Layers(*settings.record_layers)] if settings.record_layers else []
    return layers + ([Regions(scales, settings.record_regions)] if scales else [])


def _fit(data: DataSplits, name: str, settings: Settings, device: torch.device, path: Path) -> Fit:
    torch.manual_seed(settings.seed)
    facts = {"model": name, "classes": list(data.classes), "data": data.name}
    facts |= {"settings": settings.to_json()}
    facts |= {"mean": data.mean.tolist(), "std": data.std.tolist()}
    return Fit(build_model(name, len(data.classes)), data, settings, device, path, facts)
