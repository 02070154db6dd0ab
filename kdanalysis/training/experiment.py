"""One teacher and a student a loss on the same data, each student's training captured."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from kdanalysis.capture import Recorder, every
from kdanalysis.data import DataSplits
from kdanalysis.losses import CrossEntropy, Loss, Sum, parse_loss
from kdanalysis.models import MODELS, build_model
from kdanalysis.training.checkpoint import load_network
from kdanalysis.training.fit import Fit, Progress, silent
from kdanalysis.training.predict import accuracy, predict, save_logits
from kdanalysis.training.settings import Settings


@dataclass(frozen=True)
class Experiment:
    """What is trained.

    Args:
        data: images of the teacher and of all students.
        teacher: name of a network, trained first, or the path of a checkpoint.
        student: name of the students' network.
        losses: distillation losses as text (see ``parse_loss``); cross-entropy is added to each.
        settings: of the students.
        teacher_epochs: of the teacher, where it is trained; the students' number if None.

    Raises:
        ValueError: an unknown network or loss, or a loss named twice.
        FileNotFoundError: the teacher is neither a network's name nor a file.
    """

    data: DataSplits
    teacher: str
    student: str
    losses: Sequence[str] = ("kd", "dkd", "gdkd")
    settings: Settings = field(default_factory=Settings)
    teacher_epochs: int | None = None

    def __post_init__(self) -> None:
        classes = len(self.data.classes)
        if self.teacher.endswith((".pt", ".pth")):
            load_network(Path(self.teacher), classes)
        else:
            build_model(self.teacher, classes)
        build_model(self.student, classes)
        if not self.losses or len(self.named_losses()) < len(self.losses):
            raise ValueError(f"need at least one loss, each named once; got {list(self.losses)}")
        probe = torch.arange(float(classes)).unsqueeze(0)
        for loss in self.named_losses().values():
            loss(probe, probe, torch.tensor([0]))  # a k that does not fit these classes shows here

    def named_losses(self) -> dict[str, Loss]:
        """Return cross-entropy plus each loss, by a name that fits a folder."""
        return {
            re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-."): Sum(CrossEntropy(), parse_loss(text))
            for text in self.losses
        }


@dataclass(frozen=True)
class Outcome:
    """Where the results lie.

    ``students`` has columns student, accuracy, agreement (share of validation images on which
    student and teacher name the same class) and epochs; the first row is the teacher.
    """

    runs: dict[str, Path]
    logits: dict[str, Path]
    students: pd.DataFrame


def run_experiment(
    experiment: Experiment,
    folder: Path,
    device: torch.device,
    *,
    resume: bool = False,
    progress: Progress = silent,
) -> Outcome:
    """Train the teacher, then every student under a recorder, into ``folder``.

    ``teacher.pt`` and ``students/NAME.pt`` are checkpoints, ``runs/NAME`` the captured runs, and
    ``logits/NAME.npz`` teacher and student logits over the validation images.

    Args:
        experiment: what is trained.
        folder: where the results go.
        device: where to compute.
        resume: go on from the checkpoints that are there.
        progress: shows how far each training is; see ``Fit.run``.
    """
    data = experiment.data
    teacher = _teacher(experiment, folder, device, resume, progress)
    taught = predict(teacher, data.valid, device)
    save_logits(folder / "logits" / "teacher.npz", teacher_logits=taught, target=data.valid.labels)
    rows = [("teacher", accuracy(taught, data.valid.labels), 1.0)]
    for name, loss in experiment.named_losses().items():
        student = _distill(experiment, name, loss, teacher, folder, device, resume, progress)
        learned = predict(student, data.valid, device)
        sides = {"teacher_logits": taught, "student_logits": learned}
        save_logits(folder / "logits" / f"{name}.npz", **sides, target=data.valid.labels)
        agreement = float((learned.argmax(-1) == taught.argmax(-1)).mean())
        rows.append((name, accuracy(learned, data.valid.labels), agreement))
    names = experiment.named_losses()
    return Outcome(
        runs={name: folder / "runs" / name for name in names},
        logits={name: folder / "logits" / f"{name}.npz" for name in ("teacher", *names)},
        students=pd.DataFrame(rows, columns=["network", "accuracy", "agreement"]),
    )


def _teacher(
    experiment: Experiment, folder: Path, device: torch.device, resume: bool, progress: Progress
) -> nn.Module:
    data, name = experiment.data, experiment.teacher
    if name in MODELS:
        epochs = experiment.teacher_epochs or experiment.settings.epochs
        settings = replace(experiment.settings, epochs=epochs)
        fit = _fit(data, name, settings, device, folder / "teacher.pt")
        if resume:
            fit.resume()
        loss = nn.CrossEntropyLoss()
        fit.run(lambda x, y, ids, epoch: loss(fit.model(x), y), f"teacher {name}", progress)
        model = fit.model
    else:
        model, _ = load_network(Path(name), len(data.classes))
    return model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def _distill(
    experiment: Experiment,
    name: str,
    loss: Loss,
    teacher: nn.Module,
    folder: Path,
    device: torch.device,
    resume: bool,
    progress: Progress,
) -> nn.Module:
    data, settings = experiment.data, experiment.settings
    fit = _fit(data, experiment.student, settings, device, folder / "students" / f"{name}.pt")
    if resume:
        fit.resume()
    recorder = Recorder(
        folder / "runs" / name,
        loss,
        student=fit.model,
        teacher=teacher,
        schedule=every(settings.record_every),
        max_rows=settings.record_rows,
        classes=data.classes,
        seed=settings.seed,
        scaler=fit.scaler if fit.scaler.is_enabled() else None,
        settings={"data": data.name, "student": experiment.student, **settings.to_json()},
        existing="resume" if resume else "error",
    )
    recorder.step = fit.step

    def step_loss(x: Tensor, y: Tensor, ids: Tensor, epoch: int | float) -> Tensor:
        recorder.epoch = int(epoch)
        with torch.no_grad():
            teacher(x)
        fit.model(x)
        return recorder.loss(y, sample_id=ids, ramp=settings.ramp(epoch))

    with recorder:
        fit.run(step_loss, f"student {name}", progress)
    return fit.model


def _fit(data: DataSplits, name: str, settings: Settings, device: torch.device, path: Path) -> Fit:
    torch.manual_seed(settings.seed)
    facts = {"model": name, "classes": list(data.classes), "data": data.name}
    facts |= {"settings": settings.to_json()}
    return Fit(build_model(name, len(data.classes)), data, settings, device, path, facts)
