"""Anatomy of scale decoupling: what the cases of the regions are, weigh and pull (SDD)."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.by_region import (
    Regional,
    RegionLoss,
    cells,
    region_gradients,
    region_loss,
)
from kdanalysis.analyzers.by_step import check_steps, place_steps
from kdanalysis.core.cases import COMPLEMENTARY, KINDS, region_kinds
from kdanalysis.core.regions import count_regions

QUANTITIES = ("n", "value", "norm")


class RegionAnatomy(Regional):
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
        epochs: every epoch; a single one for regions that come from no training.
    """

    kind = "regions"
    needs = ("student_regions", "teacher_regions", "target")
    takes = ("epoch",)

    def __init__(
        self,
        loss: RegionLoss,
        num_classes: int,
        scales: Sequence[int] = (1, 2, 4),
        epochs: Sequence[int] = (0,),
    ) -> None:
        ordered = check_steps(epochs)
        super().__init__(num_classes, scales, loss, ordered)
        self.loss, self.epochs = loss, ordered
        shape = len(KINDS), len(QUANTITIES)
        self.add_sum("by_cell", len(ordered), count_regions(self.scales), *shape)
        self.add_sum("by_class", num_classes, len(self.scales), *shape)

    def update(
        self,
        student_regions: Float[Tensor, "n c r"],
        teacher_regions: Float[Tensor, "n c r"],
        target: Int[Tensor, " n"],
        epoch: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add one batch; ValueError as :meth:`Regional.keep_regions`, or an epoch not announced."""
        kept = self.keep_regions(teacher_regions, student_regions, target)
        place = place_steps(self.epochs, epoch, target)[kept]
        sides = student_regions[kept].double(), teacher_regions[kept].double(), target[kept].long()
        kind = region_kinds(*sides[1:])
        value = region_loss(self.loss, *sides)
        norm = region_gradients(self.loss, *sides).norm(dim=-1)
        rows = torch.stack([torch.ones_like(value), value, norm], -1).flatten(0, 1)
        regions = torch.arange(kind.shape[1], device=kind.device)
        scale = torch.tensor([self.scales.index(m) for m, _, _ in cells(self.scales)]).to(regions)
        keys = {
            "by_cell": place.unsqueeze(-1) * len(regions) + regions,
            "by_class": sides[2].unsqueeze(-1) * len(self.scales) + scale,
        }
        for name, key in keys.items():
            state = getattr(self, name)
            flat = rows.new_zeros(state[..., 0].numel(), len(QUANTITIES))
            sums = flat.index_add(0, (key * len(KINDS) + kind).flatten(), rows)
            self.accumulate(**{name: sums.view(state.shape)})

    def compute(self) -> dict[str, Tensor]:
        """Sums (epoch, region, kind, quantity) and (class, scale, kind, quantity); non_finite."""
        return {
            "by_cell": self.by_cell.clone(),
            "by_class": self.by_class.clone(),
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns part, epoch, scale, row, column, class, case, by_class, by_correctness, ...

        ``part`` is "cell", by epoch and cell, or "class", by true class and scale over all epochs;
        what does not apply is <NA>. ``by_class`` and ``by_correctness`` tell whether the case is
        complementary. n counts (sample, region) pairs; value (nats) and norm (L2) are means over
        them, NaN where there is none; share_n, share_value and share_norm are the case's parts of
        the sums over all cases of the cell, or of the class and scale. The last is non_finite.
        """
        sums = self.compute()
        places = [(e, *cell) for e in self.epochs for cell in cells(self.scales)]
        cell = _rows(sums["by_cell"], places, ["epoch", "scale", "row", "column"])
        places = [(c, m) for c in range(self.num_classes) for m in self.scales]
        of_class = _rows(sums["by_class"], places, ["class", "scale"])
        frame = pd.concat([cell.assign(part="cell"), of_class.assign(part="class")])
        whole = ["epoch", "scale", "row", "column", "class"]
        frame = frame.astype(dict.fromkeys(whole, "Int64")).reset_index(drop=True)
        columns = ["part", *whole, "case", "by_class", "by_correctness", *QUANTITIES]
        shares = [f"share_{name}" for name in QUANTITIES]
        return frame[columns + shares].assign(non_finite=int(sums["non_finite"]))


def _rows(sums: Tensor, places: list[tuple], names: list[str]) -> pd.DataFrame:
    """Make a row a place and kind: counts, means, and shares of the place's sums."""
    sums = sums.cpu().flatten(0, 1)
    index = [(*place, kind) for place in places for kind in KINDS]
    frame = pd.DataFrame(index, columns=[*names, "case"])
    for split, kinds in COMPLEMENTARY.items():
        frame[f"by_{split}"] = frame.case.isin(kinds)
    n, *totals = sums.unbind(-1)
    frame["n"] = n.long().flatten().tolist()
    for name, total in zip(QUANTITIES[1:], totals, strict=True):
        frame[name] = (total / n).flatten().tolist()
    for name, total in zip(QUANTITIES, sums.unbind(-1), strict=True):
        frame[f"share_{name}"] = (total / total.sum(-1, keepdim=True)).flatten().tolist()
    return frame
