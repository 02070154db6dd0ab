"""One teacher and a student a loss on the same data, each student's training captured."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.capture.probe import chosen_layers
from kdanalysis.core.regions import region_logits
from kdanalysis.data import DataSplits
from kdanalysis.losses import CrossEntropy, Loss, Sum, parse_loss
from kdanalysis.networks.zoo import Network, build_model
from kdanalysis.store.files import run_folder
from kdanalysis.training.checkpoint import load_network
from kdanalysis.training.fit import Progress, silent
from kdanalysis.training.networks import train_student, train_teacher
from kdanalysis.training.parallel import images_a_rank
from kdanalysis.training.predict import accuracy, predict, save_logits
from kdanalysis.training.regions import kept_scales
from kdanalysis.training.settings import Settings
from kdanalysis.training.stones import Stones, TrainedLadder


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
        stones: train every student with its stepping stones, each loss being the base.

    Raises:
        ValueError: an unknown network, loss or block, or a loss named twice.
        FileNotFoundError: the teacher is neither a network's name nor a file.
    """

    data: DataSplits
    teacher: str
    student: str
    losses: Sequence[str] = ("kd", "dkd", "gdkd")
    settings: Settings = field(default_factory=Settings)
    teacher_epochs: int | None = None
    stones: Stones | None = None

    def __post_init__(self) -> None:
        classes = len(self.data.classes)
        if len(self.data.train) < 2:
            raise ValueError("need at least 2 training images: a batch of one has no statistics")
        if self.teacher_epochs is not None and self.teacher_epochs < 1:
            raise ValueError(f"teacher_epochs must be at least 1, got {self.teacher_epochs}")
        if self.teacher.endswith((".pt", ".pth")):
            teacher = load_network(Path(self.teacher), self.data.classes)
        else:
            teacher = build_model(self.teacher, classes)
        student = build_model(self.student, classes)
        if self.settings.record_layers:
            chosen_layers(student, self.settings.record_layers)
        if not self.losses or len(self.named_losses()) < len(self.losses):
            raise ValueError(f"need at least one loss, each named once; got {list(self.losses)}")
        if self.stones is not None and self.settings.record_regions is not None:
            raise ValueError("regions are not recorded of students that learn with stones")
        images_a_rank(self.settings.batch_size)
        probe = torch.arange(float(classes)).unsqueeze(0)
        for text, (name, loss) in zip(self.losses, self.named_losses().items(), strict=True):
            try:  # a k or a scale that does not fit these classes or images shows here
                run_folder(name)
                if self.stones is not None:
                    self.stones.check(student, teacher, loss, self.data.train.image_shape)
                    continue
                scales = loss.scales or kept_scales(loss, self.settings)
                sides = [self._regions(one, scales) for one in (student, teacher) if scales]
                loss(*(sides if loss.scales else (probe, probe)), torch.tensor([0]))
            except ValueError as error:
                raise ValueError(f"loss {text!r} cannot be trained with here: {error}") from error

    def named_losses(self) -> dict[str, Loss]:
        """Return cross-entropy plus each loss, by a name that fits a folder.

        With stepping stones it is the loss of the student and its stones around each.
        """
        names = (re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip(".") for text in self.losses)
        bases = map(parse_loss, self.losses)
        if self.stones is None:
            return {
                name: Sum(CrossEntropy(), base) for name, base in zip(names, bases, strict=True)
            }
        student = build_model(self.student, len(self.data.classes))
        return {n: self.stones.loss(base, student) for n, base in zip(names, bases, strict=True)}

    @torch.no_grad()
    def _regions(self, network: Network, scales: Sequence[int]) -> Float[Tensor, "1 c r"]:
        features = network.eval().forward_features(torch.zeros(1, *self.data.train.image_shape))
        return region_logits(features, network.head, None, scales)

    def fingerprint(self) -> dict[str, object]:
        """Return what a resumed training must share with the one before it, as JSON values."""
        data = self.data
        some = torch.linspace(0, len(data.train) - 1, 16).long()
        pixels = crc32(data.train.pixels[some].numpy().tobytes())
        teacher = Path(self.teacher)
        given = teacher.is_file()
        return {
            "data": data.name,
            "classes": len(data.classes),
            "training images": len(data.train),
            "validation images": len(data.valid),
            "image size": "x".join(map(str, data.train.image_shape[1:])),
            "images": f"{crc32(data.train.labels.tobytes()):08x}{pixels:08x}",
            "teacher": self.teacher,
            "teacher weights": f"{crc32(teacher.read_bytes()):08x}" if given else None,
            "student": self.student,
            "losses": ", ".join(f"ce + {text}" for text in self.losses),
            "stones": None if self.stones is None else str(self.stones),
            **{name.replace("_", " "): v for name, v in self.settings.to_json().items()},
            "teacher epochs": None if given else self.teacher_epochs or self.settings.epochs,
        }


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
    teacher = train_teacher(experiment, folder, device, resume, progress)
    taught = predict(teacher, data.valid, device)
    save_logits(folder / "logits" / "teacher.npz", teacher_logits=taught, target=data.valid.labels)
    rows, ladders = [("teacher", accuracy(taught, data.valid.labels), 1.0)], {}
    for name, loss in experiment.named_losses().items():
        student, ladder = train_student(
            experiment, name, loss, teacher, folder, device, resume, progress
        )
        ladders |= {} if ladder is None else {name: ladder}
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
        ladders=ladders,
    )
