"""Anatomy of scale decoupling: what the cases of the regions are, weigh and pull (SDD)."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Labels
from kdanalysis.analyzers.by_region import (
    ByCase,
    RegionLoss,
    Regions,
    cells,
    region_gradients,
    region_loss,
    tell_complementary,
    with_means,
)
from kdanalysis.core.cases import KINDS, region_kinds
from kdanalysis.core.regions import count_regions

QUANTITIES = ("n", "value", "norm")
SPLITS = ("by_class", "by_correctness")


class RegionAnatomy(ByCase):
    """Number, loss and gradient norm of every case, by epoch and cell, and by class and scale.

    The cases are the four of ``region_cases``, GW-LW told apart into "same" (the region names the
    wrong class of the whole image) and "other" (another wrong one), where the definitions of a
    complementary region disagree: by class GW-LW other, GT-LW and GW-LT are complementary, by
    correctness only the last two.

    Value and norm are those of the loss of one region in its own logits, T^2 included, before
    SDD's weight of complementary regions and its mean over regions.

    Args:
        loss: of one region, such as the base of an SDD.
        num_classes: of the logits.
        scales: of the regions.
        epochs: every epoch.
    """

    noun, title = "anatomy", "Anatomy of the regions"
    made_for = ("loss_of_region", "num_classes", "scales", "steps")

    def __init__(
        self,
        loss: RegionLoss,
        num_classes: int,
        scales: Sequence[int] = (1, 2, 4),
        epochs: Sequence[int] = (0,),
    ) -> None:
        super().__init__(num_classes, scales, epochs, loss=loss)
        shape = len(KINDS), len(QUANTITIES)
        self.add_sum("by_cell", len(self.epochs), count_regions(self.scales), *shape)
        self.add_sum("by_class", num_classes, len(self.scales), *shape)

    def add(self, student: Regions, teacher: Regions, target: Labels, place: Labels) -> None:
        """Add the finite samples of a batch, with the places of their epochs."""
        sides = student.double(), teacher.double(), target.long()
        kind = region_kinds(*sides[1:])
        value = region_loss(self.loss, *sides)
        norm = region_gradients(self.loss, *sides).norm(dim=-1)
        rows = torch.stack([torch.ones_like(value), value, norm], -1).flatten(0, 1)
        regions = torch.arange(kind.shape[1], device=kind.device)
        cell = place.unsqueeze(-1) * len(regions) + regions
        scale = sides[2].unsqueeze(-1) * len(self.scales) + self.scale_places().to(kind)
        self.add_rows("by_cell", cell * len(KINDS) + kind, rows)
        self.add_rows("by_class", scale * len(KINDS) + kind, rows)

    def table(self) -> pd.DataFrame:
        """Columns part, epoch, scale, row, column, class, case, by_class, by_correctness, ...

        ``part`` is "cell", by epoch and cell, or "class", by true class and scale over all epochs;
        what does not apply is <NA>. ``by_class`` and ``by_correctness`` tell whether the case is
        complementary. n counts (sample, region) pairs; value (nats) and norm (L2) are means over
        them, NaN where there is none; share_n, share_value and share_norm are the case's parts of
        the sums over all cases of the cell, or of the class and scale. The last is non_finite.
        """
        places = [(e, *cell) for e in self.epochs for cell in cells(self.scales)]
        cell = _rows(self.by_cell, places, ["epoch", "scale", "row", "column"])
        places = [(c, m) for c in range(self.num_classes) for m in self.scales]
        of_class = _rows(self.by_class, places, ["class", "scale"])
        frame = pd.concat([cell.assign(part="cell"), of_class.assign(part="class")])
        whole = ["epoch", "scale", "row", "column", "class"]
        frame = frame.astype(dict.fromkeys(whole, "Int64")).reset_index(drop=True)
        columns = ["part", *whole, "case", *SPLITS, *QUANTITIES]
        shares = [f"share_{name}" for name in QUANTITIES]
        return frame[columns + shares].assign(non_finite=int(self.non_finite))


def _rows(sums: Tensor, places: list[tuple], names: list[str]) -> pd.DataFrame:
    """Make a row a place and kind: counts, means, and shares of the place's sums."""
    sums = sums.cpu().flatten(0, 1)
    index = [(*place, kind) for place in places for kind in KINDS]
    frame = tell_complementary(pd.DataFrame(index, columns=[*names, "case"]))
    frame = with_means(frame, sums.flatten(0, 1), QUANTITIES[1:])
    for name, total in zip(QUANTITIES, sums.unbind(-1), strict=True):
        frame[f"share_{name}"] = (total / total.sum(-1, keepdim=True)).flatten().tolist()
    return frame
