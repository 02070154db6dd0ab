"""What the analyzers of regions share: checked batches of region logits, scales and cells."""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.cases import region_pairs
from kdanalysis.core.regions import check_scales, count_regions
from kdanalysis.core.streams import check_batch, check_classes, finite_rows


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
        configuration: what else tells it from another of its class.

    Raises:
        ValueError: fewer than two classes, or scales that do not rise from 1.
    """

    def __init__(self, num_classes: int, scales: Any, *configuration: object) -> None:
        check_classes(num_classes)
        scales = check_scales(scales)
        super().__init__(num_classes, scales, *configuration)
        self.num_classes, self.scales = num_classes, scales

    def keep_regions(
        self,
        teacher: Float[Tensor, "n c r"],
        student: Float[Tensor, "n c r"] | None = None,
        target: Int[Tensor, " n"] | None = None,
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
    loss: RegionLoss,
    student: Float[Tensor, "n c r"],
    teacher: Float[Tensor, "n c r"],
    target: Int[Tensor, " n"],
) -> Float[Tensor, "n r"]:
    """Return the value of the loss in every region, in nats, T^2 included."""
    values = sum(loss(*region_pairs(student, teacher, target)).values())
    return values.unflatten(0, (student.shape[-1], -1)).T


def region_gradients(
    loss: RegionLoss,
    student: Float[Tensor, "n c r"],
    teacher: Float[Tensor, "n c r"],
    target: Int[Tensor, " n"],
) -> Float[Tensor, "n r c"]:
    """Return the gradient of the loss of every region in that region's student logits."""
    total = sum(loss.gradients(*region_pairs(student, teacher, target)).values())
    return total.unflatten(0, (student.shape[-1], -1)).transpose(0, 1)
