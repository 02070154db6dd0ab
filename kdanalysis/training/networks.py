"""The training of one teacher, and of one student under a recorder."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdanalysis.capture import Recorder, every
from kdanalysis.data import DataSplits
from kdanalysis.losses import Loss
from kdanalysis.networks.zoo import MODELS, build_model
from kdanalysis.training.checkpoint import load_network
from kdanalysis.training.fit import Fit, Progress
from kdanalysis.training.regions import kept_scales
from kdanalysis.training.settings import Settings
from kdanalysis.training.stones import TrainedLadder

if TYPE_CHECKING:
    from kdanalysis.training.experiment import Experiment


def train_teacher(
    experiment: "Experiment", folder: Path, device: torch.device, resume: bool, progress: Progress
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
        model = load_network(Path(name), data.classes)
    return model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def train_student(
    experiment: "Experiment",
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
    recorder = Recorder(
        folder / "runs" / name,
        loss,
        student=fit.trained if ladder is None else fit.model,
        teacher=teacher,
        schedule=every(settings.record_every),
        max_rows=settings.record_rows,
        layers=settings.record_layers,
        regions=kept_scales(loss, settings),
        region_rows=settings.record_regions or 1,
        classes=data.classes,
        seed=settings.seed,
        scaler=fit.scaler if fit.scaler.is_enabled() else None,
        settings={"data": data.name, "student": experiment.student, **settings.to_json()},
        existing="resume" if resume else "error",
    )
    recorder.step = fit.step

    def step_loss(x: Tensor, y: Tensor, ids: Tensor, epoch: int | float) -> Tensor:
        recorder.epoch = int(epoch)
        logits = seen_by_hooks(x) if ladder is None else ladder(x)
        return recorder.loss(y, sample_id=ids, ramp=settings.ramp(epoch), **logits)

    def seen_by_hooks(x: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            teacher(x)
        fit.trained(x)
        return {}

    def before_save() -> None:
        recorder.flush()
        if ladder is not None:
            ladder.measure()

    with recorder:
        fit.run(step_loss, f"student {name}", progress, before_save)
    return fit.model, ladder


def _fit(data: DataSplits, name: str, settings: Settings, device: torch.device, path: Path) -> Fit:
    torch.manual_seed(settings.seed)
    facts = {"model": name, "classes": list(data.classes), "data": data.name}
    facts |= {"settings": settings.to_json()}
    return Fit(build_model(name, len(data.classes)), data, settings, device, path, facts)
