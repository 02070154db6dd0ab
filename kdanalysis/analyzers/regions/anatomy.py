"""Anatomy of scale decoupling: what the cases of the regions are, weigh and pull (SDD)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Labels
from kdanalysis.analyzers.by_region import (
    ByCase,
    RegionLoss,
    Regions,
    cells,
    inner_scales,
    region_gradients,
    region_loss,
    tell_complementary,
    with_means,
)
from kdanalysis.analyzers.evidence import OPPOSITE, SEEN, Interval, agreed, ended, jackknife
from kdanalysis.analyzers.noun import Reading
from kdanalysis.core.cases import KINDS, region_kinds
from kdanalysis.core.regions import count_regions
from kdanalysis.core.wording import percent
from kdanalysis.draw.tables import require

QUANTITIES = ("n", "value", "norm")
SPLITS = ("by_class", "by_correctness")
HALF = 0.5  # of the pairs: fewer are few


class RegionAnatomy(ByCase):
    """Number, loss and gradient norm of every case, by epoch and cell, and by class and scale.

    The cases are the four of ``region_cases``, GW-LW told apart into "same" (the region names the
    wrong class of the whole image) and "other" (another wrong one), where the definitions of a
    complementary region disagree: by class GW-LW other, GT-LW and GW-LT are complementary, by
    correctness only the last two.

    Value and norm are those of the loss of one region in its own logits, T^2 included, before
    SDD's weight of complementary regions and its mean over regions.

    Args:
        loss: of one region, such as the base of an SDD; the others as for ``Regional``.
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


@RegionAnatomy.reads()
def anatomy_reading(table: pd.DataFrame) -> Reading:
    """Whether complementary cells are few and large, and where the definitions differ.

    Few are less than half of the pairs; large are a loss and a gradient norm both above the mean
    of all pairs, small both below; at the finest scale, each with its 95 % interval by the
    jackknife over classes, in which the cells of a class go together; whether classes differ in
    them is said of the ambiguity. The number is their part of pairs, loss and gradient at every
    scale, under both definitions.
    """
    sums = scale_sums(table)
    number = "; ".join(
        f"scale {scale} {split.replace('_', ' ')}: {_parts(*shares(some, split))}"
        for scale, some in sums.groupby("scale", sort=False)
        for split in SPLITS
    )
    finest = int(sums.index.get_level_values("scale").max())
    if finest == 1:
        return Reading("There is only the whole image, which is consistent with itself.", number)
    fine = sums.loc[[finest]]
    of_classes = class_sums(table, finest)
    told = " ".join(_verdict(fine, of_classes, split, finest) for split in SPLITS)
    between = fine[fine.by_class != fine.by_correctness].n.sum() / fine.n.sum()
    told += (
        f" The definitions disagree about {percent(between)} of these pairs, where cell and "
        "image are both wrong in two ways (GW-LW other)."
    )
    return Reading(told, number)


def scale_sums(table: pd.DataFrame) -> pd.DataFrame:
    """Sums over epochs and cells by (scale, case), scales beyond the whole image where any.

    Columns n, value and norm are sums over pairs, ``by_class`` and ``by_correctness`` as in the
    table.
    """
    rows = cell_rows(table)
    rows = rows[rows.scale.isin(inner_scales(rows))]
    rows = rows.assign(**{name: (rows[name] * rows.n).fillna(0.0) for name in ("value", "norm")})
    each = rows.groupby(["scale", "case"], sort=False)
    told = each[list(SPLITS)].first()
    return each[["n", "value", "norm"]].sum().join(told)


@RegionAnatomy.shortens
def scale_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``scale_sums`` as a table, value and norm being means over pairs."""
    sums = scale_sums(table)
    return sums.assign(value=sums.value / sums.n, norm=sums.norm / sums.n).reset_index()


def cell_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by cell.

    Raises:
        ValueError: as ``require``.
    """
    places = ("part", "epoch", "scale", "row", "column", "case")
    require(table, *places, *QUANTITIES, *SPLITS, number="value")
    return table[table.part == "cell"]


def shares(sums: pd.DataFrame, split: str) -> tuple[float, float, float]:
    """Complementary part of the pairs, of the loss and of the gradient norms; NaN where none."""
    total = sums[list(QUANTITIES)].sum()
    part = sums[sums[split]][list(QUANTITIES)].sum()
    return tuple((part / total.where(total != 0)).tolist())


def _parts(n: float, value: float, norm: float) -> str:
    told = f"{percent(value)} of the loss, {percent(norm)} of the gradient"
    return f"{percent(n)} of the pairs, {'no pair has a gradient' if np.isnan(norm) else told}"


def class_sums(table: pd.DataFrame, scale: int) -> pd.DataFrame:
    """Sums of n, value and norm over all pairs of a class and scale, by (class, case)."""
    require(table, "class")
    rows = table[(table.part == "class") & (table.scale == scale)]
    rows = rows.assign(**{name: (rows[name] * rows.n).fillna(0.0) for name in ("value", "norm")})
    return rows[rows.groupby("class").n.transform("sum") > 0]


def over_classes(rows: pd.DataFrame, split: str) -> dict[str, Interval]:
    """Share of complementary pairs, and the logarithms of their loss and gradient over the means.

    Each with its interval by the jackknife over classes.

    Args:
        rows: as :func:`class_sums` gives them.
        split: "by_class" or "by_correctness".
    """
    sums = rows.groupby("class")[list(QUANTITIES)].sum().to_numpy()
    parts = rows[list(QUANTITIES)].where(rows[split], 0).groupby(rows["class"]).sum().to_numpy()
    whole, part = sums.sum(0), parts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (part / whole, *((part - parts) / (whole - sums)))
        logs = {
            name: [np.log(one[place] / one[0]) for one in found]
            for place, name in enumerate(QUANTITIES[1:], 1)
        }
    logs["n"] = [one[0] for one in found]
    return {name: jackknife(first, left) for name, (first, *left) in logs.items()}


def _verdict(sums: pd.DataFrame, of_classes: pd.DataFrame, split: str, scale: int) -> str:
    n, _, norm = shares(sums, split)
    name = split.removeprefix("by_")
    if n == 0:
        return f"By {name} no cell of scale {scale} is complementary."
    found = over_classes(of_classes, split)
    few = found["n"].above(HALF).negated
    many = few.negated.verdict == SEEN
    start = f"By {name}, that the complementary cells of scale {scale} are "
    start += f"{'many' if many else 'few'} {(few.negated if many else few).claim}: "
    start += f"{found['n'].percent()} of the pairs"
    if np.isnan(norm):
        return f"{start}; no pair has a gradient."
    sizes = [found[quantity] for quantity in QUANTITIES[1:]]
    verdict = agreed(sizes)
    told = f"small is {SEEN}" if verdict == OPPOSITE else f"large {ended(verdict)}"
    return (
        f"{start}; that they are {told}: {sizes[0].ratio()} times the mean loss and "
        f"{sizes[1].ratio()} times the mean gradient norm."
    )
