"""What the analyzers of regions share: checked batches of region logits, scales and cells."""

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels
from kdanalysis.analyzers.by_step import check_steps, place_steps
from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.cases import COMPLEMENTARY, region_pairs
from kdanalysis.core.regions import check_scales, count_regions
from kdanalysis.core.streams import check_batch, finite_rows

Regions = Float[Tensor, "n c r"]


@runtime_checkable
class RegionLoss(Protocol):
    """What is needed of a loss on one region: values and closed-form gradients of its terms."""

    def __call__(self, student: Tensor, teacher: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the value (n,) of every term, T^2 included."""

    def gradients(self, student: Tensor, teacher: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the gradient (n, c) of every term in the student's logits."""


class Regional(Analyzer):
    """An analyzer of region logits (n, c, r), as ``region_logits`` makes them.

    Args:
        num_classes: of the logits.
        scales: of the regions, rising from 1.
        epochs: every epoch of a training, which captures an image once in each; a single one for
            regions that come from no training.
        settings: what else tells it from another of its class, by name.

    Raises:
        ValueError: fewer than two classes, scales that do not rise from 1, or no cells where
            ``of_cells`` says that cells are compared.
    """

    kind: ClassVar[str] = "regions"
    of_cells: ClassVar[bool] = False
    made_for = ("num_classes", "scales", "steps")

    def __init__(
        self,
        num_classes: int,
        scales: Sequence[int] = (1, 2, 4),
        epochs: Sequence[int] = (0,),
        **settings: object,
    ) -> None:
        given = {"scales": check_scales(scales), "epochs": check_steps(epochs)}
        if self.of_cells:
            check_cells(given["scales"])
        super().__init__(num_classes=num_classes, **given, **settings)

    @classmethod
    def for_setting(cls, setting: Setting) -> "Analyzer | None":
        """Return the analyzer for these regions; None where there are none, or no cells."""
        return super().for_setting(setting) if len(setting.scales) > cls.of_cells else None

    def keep(
        self, teacher: Regions, student: Regions | None = None, target: Labels | None = None
    ) -> Bool[Tensor, " n"]:
        """Check a batch, count its samples with NaN or inf, and return which to analyse.

        Raises:
            ValueError: as :meth:`Analyzer.keep`, or another number of regions than the scales have.
        """
        sides = [side for side in (teacher, student) if side is not None]
        check_batch(*(side[..., 0] for side in sides), target=target, num_classes=self.num_classes)
        for side in sides:
            if side.shape[-1] != count_regions(self.scales):
                raise ValueError(
                    f"the region logits have {side.shape[-1]} regions, the scales {self.scales} "
                    f"have {count_regions(self.scales)}"
                )
        kept = finite_rows(*(side.flatten(1) for side in sides))
        self.accumulate(non_finite=(~kept).sum())
        return kept

    def add_rows(self, name: str, place: Int[Tensor, "..."], rows: Float[Tensor, "p q"]) -> None:
        """Add each row to a state, at a place among its first dimensions laid out in one."""
        state = getattr(self, name)
        flat = rows.new_zeros(state[..., 0].numel(), state.shape[-1])
        self.accumulate(**{name: flat.index_add(0, place.flatten(), rows).view(state.shape)})

    def scale_places(self) -> Int[Tensor, " r"]:
        """Return the place of every region's scale among the scales."""
        return torch.tensor([self.scales.index(m) for m, _, _ in cells(self.scales)])


class ByCase(Regional):
    """An analyzer of region logits by epoch and the teacher's case."""

    needs = ("student_regions", "teacher_regions", "target")
    takes = ("epoch",)

    def analysed(self, given: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Return the finite samples, last the places of their epochs, all of which are known."""
        place = place_steps(self.epochs, given.pop("epoch"), given["target"])
        return super().analysed(given | {"place": place})


def check_cells(scales: tuple[int, ...]) -> None:
    """Raise a ValueError where there is nothing but the whole image."""
    if len(scales) < 2:
        raise ValueError(f"need a scale of more than one cell to compare cells, got {scales}")


def inner_scales(table: pd.DataFrame) -> list[int]:
    """Return the scales of a table beyond the whole image, or [1] where there are none."""
    return [scale for scale in table.scale.unique().tolist() if scale > 1] or [1]


def tell_complementary(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the columns by_class and by_correctness: whether ``case`` is complementary."""
    return frame.assign(**{f"by_{split}": frame.case.isin(k) for split, k in COMPLEMENTARY.items()})


def with_means(
    frame: pd.DataFrame, sums: Float[Tensor, "p q"], names: Sequence[str]
) -> pd.DataFrame:
    """Add n, the first of the sums, and the means that the others come to; NaN where n is 0."""
    n, *totals = sums.unbind(-1)
    means = {name: (total / n).tolist() for name, total in zip(names, totals, strict=True)}
    return frame.assign(n=n.long().tolist(), **means)


def cells(scales: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return (scale, row, column) of every region, in their order."""
    return [(m, row, column) for m in scales for row in range(m) for column in range(m)]


def scale_slices(scales: tuple[int, ...]) -> dict[int, slice]:
    """Return where the cells of every scale stand among the regions."""
    found, start = {}, 0
    for m in scales:
        found[m] = slice(start, start + m * m)
        start += m * m
    return found


@torch.no_grad()
def region_loss(
    loss: RegionLoss, student: Regions, teacher: Regions, target: Labels
) -> Float[Tensor, "n r"]:
    """Return the value of the loss in every region, in nats, T^2 included."""
    values = sum(loss(*region_pairs(student, teacher, target)).values())
    return values.unflatten(0, (student.shape[-1], -1)).T


def region_gradients(
    loss: RegionLoss, student: Regions, teacher: Regions, target: Labels
) -> Float[Tensor, "n r c"]:
    """Return the gradient of the loss of every region in that region's student logits."""
    total = sum(loss.gradients(*region_pairs(student, teacher, target)).values())
    return total.unflatten(0, (student.shape[-1], -1)).transpose(0, 1)
