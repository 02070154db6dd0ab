"""Students trained together with their stepping stones, and the ladder after every epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from kdanalysis.analysis.ladder import LadderProfile
from kdanalysis.data import Images
from kdanalysis.losses import Blockwise, Loss
from kdanalysis.stones import Ladder
from kdanalysis.stones.blocks import evaluating, find_blocks
from kdanalysis.training.fit import Fit

BATCH = 500


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
        """Return the loss of a student and its stones around a base loss."""
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

    Its connectors are trained along with the student and kept in the same checkpoint; the table of
    the epochs lies beside it.

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
        fit.train_along(self.ladder.connectors)
        self._path = fit.path.with_suffix(".ladder.csv")

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits of student and stones, and the teacher's, by the recorder's names."""
        return self.ladder(images)._asdict()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation images with their labels, on the device."""
        for x, y, _ in self.images.batches(BATCH):
            yield x.to(self.fit.device), y.to(self.fit.device)

    @torch.no_grad()
    def measure(self) -> None:
        """Add the ladder over the validation images to the table, as that of the present epoch."""
        profile = LadderProfile(tuple(self.loss.sides), len(self.fit.data.classes))
        with evaluating(self.ladder):
            for images, target in self.batches():
                logits, taught = self.ladder(images)
                profile.update(logits.float().cpu(), taught.float().cpu(), target.cpu())
        rows = profile.table().assign(epoch=self.fit.epoch)
        before = self.history()
        earlier = before[before.epoch < self.fit.epoch] if len(before) else rows.iloc[:0]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}")
        pd.concat([earlier, rows] if len(earlier) else [rows]).to_csv(temporary, index=False)
        temporary.replace(self._path)

    def history(self) -> pd.DataFrame:
        """Return the table of the epochs so far: the columns of ``LadderProfile``, and epoch."""
        return pd.read_csv(self._path) if self._path.exists() else pd.DataFrame({"epoch": []})
