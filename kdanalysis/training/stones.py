"""Students trained together with their stepping stones, and the ladder after every epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from kdanalysis.analyzers.stones.gradient import gradient_table
from kdanalysis.analyzers.stones.ladder import LadderProfile
from kdanalysis.core.disk import naming
from kdanalysis.core.ranks import RANKS
from kdanalysis.data import Images
from kdanalysis.losses import Blockwise, Loss
from kdanalysis.networks.mode import evaluating
from kdanalysis.networks.names import find_blocks
from kdanalysis.stones import Ladder
from kdanalysis.stones.gradients import StoneGradients
from kdanalysis.training.fit import Fit

BATCH = 500
TRAINING, GRADIENT = "ladder_training", "ladder_gradient_training"


@dataclass(frozen=True)
class Stones:
    """How students learn block by block; see ``Blockwise`` and ``Ladder``.

    Args:
        student_blocks: names in the order they run; all of the network's if None.
        teacher_blocks: likewise, as many.
        light: use the deeper half of the stones.
    """

    student_blocks: tuple[str, ...] | None = None
    teacher_blocks: tuple[str, ...] | None = None
    light: bool = False

    def __str__(self) -> str:
        """Name both sides' blocks: what a resumed training must share."""
        named = (self.student_blocks, self.teacher_blocks)
        ours, theirs = (", ".join(one) if one else "its own" for one in named)
        which = "the deeper half" if self.light else "all"
        return f"{which}; blocks of the student {ours}; of the teacher {theirs}"

    def loss(self, base: Loss, student: nn.Module) -> Blockwise:
        """Return the loss of a student and its stones around a base loss.

        Raises:
            ValueError: as ``find_blocks``.
        """
        blocks = len(find_blocks(student, self.student_blocks, "student"))
        return Blockwise(base, blocks, light=self.light)

    def ladder(self, student: nn.Module, teacher: nn.Module, example: Tensor) -> Ladder:
        """Return the ladder with fresh connectors; ValueError where blocks do not fit."""
        blocks = self.student_blocks, self.teacher_blocks
        return Ladder(student, teacher, example, *blocks, light=self.light)

    def check(
        self, student: nn.Module, teacher: nn.Module, loss: Loss, shape: tuple[int, ...]
    ) -> None:
        """Raise a ValueError where the blocks or the loss do not fit the networks."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            ladder = self.ladder(student, teacher.eval(), torch.zeros(2, *shape)).eval()
            loss(*ladder(torch.zeros(1, *shape)), torch.tensor([0]))


class TrainedLadder:
    """The ladder of a student in training, with what the validation images say of it.

    Its connectors are trained along with the student and kept in the same checkpoint; the tables
    of the epochs lie beside it.

    Args:
        stones: what to build.
        fit: the student's training, before it is resumed.
        teacher: in evaluation mode.
        loss: of the training.
    """

    def __init__(self, stones: Stones, fit: Fit, teacher: nn.Module, loss: Blockwise) -> None:
        self.fit, self.loss = fit, loss
        self.images: Images = fit.data.valid
        example = torch.zeros(2, *self.images.image_shape, device=fit.device)
        self.ladder = stones.ladder(fit.model, teacher, example)
        fit.train_along(self.ladder.connectors, self.ladder)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits of student and stones, and the teacher's, by the recorder's names."""
        return self.fit.trained(images)._asdict()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation images with their labels, on the device."""
        for x, y, _ in self.images.batches(BATCH):
            yield x.to(self.fit.device), y.to(self.fit.device)

    def measure(self) -> None:
        """Add what the present epoch's ladder says of the validation images to the tables.

        Divergences are at the T of the loss, gradients those of the first 500 images. Of several
        ranks the first one measures.
        """
        if not RANKS.first:
            return
        classes, own = len(self.fit.data.classes), self.loss.base.temperature or 1.0
        profile = LadderProfile(tuple(self.loss.sides), classes, temperature=own)
        gradients = StoneGradients(self.ladder, self.loss)
        with evaluating(self.ladder), torch.no_grad():
            for images, target in self.batches():
                known = gradients.count > 0
                found = self.ladder(images) if known else gradients.add(images, target=target)
                logits, taught = (side.float().cpu() for side in found)
                profile.update(logits, taught, target.cpu())
        self._append(TRAINING, profile.table())
        found = gradients.grams(), gradients.sides, gradients.count, gradients.shares()
        table = gradient_table(*found)
        self._append(GRADIENT, table)

    def history(self) -> dict[str, pd.DataFrame]:
        """Return the tables ``ladder_training`` and ``ladder_gradient_training``, with epochs."""
        return {noun: pd.read_csv(self._path(noun)) for noun in (TRAINING, GRADIENT)}

    def _append(self, noun: str, table: pd.DataFrame) -> None:
        rows, path = table.assign(epoch=self.fit.epoch), self._path(noun)
        if path.exists():
            before = pd.read_csv(path)
            rows = pd.concat([before[before.epoch < self.fit.epoch], rows])
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with naming(path):
            rows.to_csv(temporary, index=False)
            temporary.replace(path)

    def _path(self, noun: str) -> Path:
        return self.fit.path.with_suffix(f".{noun}.csv")
