"""What is trained: one teacher, and a student a loss on the same data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.capture import region_bytes
from kdanalysis.capture.layers import chosen_layers
from kdanalysis.core.limits import announce_disk, written
from kdanalysis.core.regions import region_logits
from kdanalysis.data import DataSplits
from kdanalysis.losses import CrossEntropy, Loss, Sum, parse_loss
from kdanalysis.networks.zoo import MODELS, Network, build_model, check_model
from kdanalysis.store.files import run_folder
from kdanalysis.training.checkpoint import load_network
from kdanalysis.training.parallel import images_a_rank
from kdanalysis.training.settings import Settings
from kdanalysis.training.stones import Stones


@dataclass(frozen=True)
class Experiment:
    """What is trained.

    Args:
        data: images of the teacher and of all students.
        teacher: name of a network, trained first, or the path of a checkpoint.
        student: name of the students' network.
        losses: distillation losses as text (see ``parse_loss``); cross-entropy is added to each
            that has none.
        settings: of the students.
        teacher_epochs: of the teacher, where it is trained; the students' number if None.
        stones: train every student with its stepping stones, each loss being the base.
        cache: folder in which the teacher's logits of all images are kept, so that it does not run
            while students train; None runs it. Images may be mirrored then, but not cropped.

    Raises:
        ValueError: an unknown network, loss or block, a loss named twice, or a cache for a training
            whose images are cropped or that runs the teacher's blocks.
        FileNotFoundError: the teacher is neither a network's name nor a file.
    """

    data: DataSplits
    teacher: str
    student: str
    losses: Sequence[str] = ("kd", "dkd", "gdkd")
    settings: Settings = field(default_factory=Settings)
    teacher_epochs: int | None = None
    stones: Stones | None = None
    cache: Path | None = None

    _losses: dict[str, Loss] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.data.train) < 2:
            raise ValueError("need at least 2 training images: a batch of one has no statistics")
        if self.teacher_epochs is not None and self.teacher_epochs < 1:
            raise ValueError(f"teacher_epochs must be at least 1, got {self.teacher_epochs}")
        with torch.random.fork_rng(devices=[]):
            student, teacher = self._networks()
        if self.settings.record_layers:
            chosen_layers(student, self.settings.record_layers)
        losses = {_named(text): self._around(parse_loss(text), student) for text in self.losses}
        object.__setattr__(self, "_losses", losses)
        if not losses or len(losses) < len(self.losses):
            raise ValueError(f"need at least one loss, each named once; got {list(self.losses)}")
        if self.stones is not None and self.settings.record_regions is not None:
            raise ValueError("regions are not recorded of students that learn with stones")
        if self.cache is not None:
            self._check_cache()
        images_a_rank(self.settings.batch_size)
        for text, (name, loss) in zip(self.losses, losses.items(), strict=True):
            try:
                self._try(name, loss, student, teacher)
            except ValueError as error:
                raise ValueError(f"loss {text!r} cannot be trained with here: {error}") from error

    def named_losses(self) -> dict[str, Loss]:
        """Return cross-entropy plus each loss, by a name that fits a folder.

        With stepping stones it is the loss of the student and its stones around each.
        """
        return dict(self._losses)

    def _networks(self) -> tuple[nn.Module, nn.Module]:
        classes = self.data.classes
        if _in_file(self.teacher):
            teacher = load_network(Path(self.teacher), self.data)
        else:
            teacher = build_model(self.teacher, len(classes))
        return build_model(self.student, len(classes)), teacher

    def _around(self, base: Loss, student: nn.Module) -> Loss:
        if self.stones is not None:
            return self.stones.loss(base, student)
        return base if "ce" in base.terms else Sum(CrossEntropy(), base)

    def _check_cache(self) -> None:
        if self.settings.augment and self.settings.crops:
            raise ValueError(
                "the teacher's logits are computed once for every image and its mirror image, not "
                "for its crops: train without crops (--no-crops), or without the cache"
            )
        if self.stones is not None:
            raise ValueError(
                "stepping stones run the teacher's blocks on every image: train them without a "
                "cache of its logits"
            )

    def _try(self, name: str, loss: Loss, student: Network, teacher: Network) -> None:
        """Raise a ValueError for a k or a scale that does not fit these classes or images."""
        run_folder(name)
        if self.stones is not None:
            self.stones.check(student, teacher, loss, self.data.train.image_shape)
            return
        probe = torch.arange(float(len(self.data.classes))).unsqueeze(0)
        scales = loss.scales or self.settings.kept_scales(loss)
        sides = [self._regions(one, scales) for one in (student, teacher) if scales]
        loss(*(sides if loss.scales else (probe, probe)), torch.tensor([0]))

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
            "losses": ", ".join(
                f"ce + {text}" if "ce" not in parse_loss(text).terms else text
                for text in self.losses
            ),
            "teacher's logits": "computed once" if self.cache is not None else None,
            "stones": None if self.stones is None else str(self.stones),
            **{name.replace("_", " "): v for name, v in self.settings.to_json().items()},
            "teacher epochs": None if given else self.teacher_epochs or self.settings.epochs,
        }


def check_names(teacher: str, student: str, losses: Sequence[str]) -> None:
    """Check what an experiment names before its data are loaded; arguments as of ``Experiment``.

    Raises:
        ValueError: no such network or loss.
        FileNotFoundError: no such checkpoint.
    """
    for text in losses:
        parse_loss(text)
    check_model(student)
    if not _in_file(teacher):
        check_model(teacher)
    elif not Path(teacher).is_file():
        raise FileNotFoundError(f"there is no checkpoint {teacher}")


def _in_file(teacher: str) -> bool:
    """Whether a teacher is the path of a checkpoint."""
    return teacher not in MODELS and bool(Path(teacher).suffix)


def _named(text: str) -> str:
    """Return a name that fits a folder."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip(".")


def announce_regions(experiment: Experiment) -> list[str]:
    """Say for every loss how many bytes the regions of its run will take; [] if none are kept."""
    settings, data = experiment.settings, experiment.data
    if settings.record_regions is None:
        return []
    captured = _captured_steps(experiment)
    limits = (settings.record_regions, settings.record_rows, settings.batch_size, len(data.train))
    rows = min(limit for limit in limits if limit is not None)
    lines = []
    for name, loss in experiment.named_losses().items():
        scales = settings.kept_scales(loss)
        size = region_bytes(captured * rows, len(data.classes), scales)
        lines.append(
            f"regions of {name}: about {written(size)} for scales {scales}, {rows} samples of "
            f"each of {captured:,} captured steps"
        )
    return lines


def refuse_full_disk(experiment: Experiment, out: Path) -> None:
    """Raise a ValueError where the logits to be captured have no room on the disk of ``out``.

    Counted are both sides' logits of all captured rows and their regions, in float16.
    """
    settings, classes = experiment.settings, len(experiment.data.classes)
    captured = _captured_steps(experiment)
    rows = min(settings.record_rows or settings.batch_size, settings.batch_size)
    size = 0
    for loss in experiment.named_losses().values():
        size += 4 * captured * rows * classes
        if scales := settings.kept_scales(loss):
            some = min(rows, settings.record_regions)
            size += region_bytes(captured * some, classes, scales)
    way = "capture fewer steps with --record-every or fewer rows with --record-rows"
    announce_disk(out, size, f"{captured:,} captured steps of {rows} rows a loss", way)


def _captured_steps(experiment: Experiment) -> int:
    settings = experiment.settings
    full, rest = divmod(len(experiment.data.train), settings.batch_size)
    return -(-settings.epochs * (full + (rest > 1)) // settings.record_every)
