"""Anatomy of scale decoupling: what the cases of the regions are, weigh and pull (SDD)."""

from collections.abc import Sequence
from math import isnan

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
from kdanalysis.analyzers.noun import Reading
from kdanalysis.core.cases import KINDS, region_kinds
from kdanalysis.core.regions import count_regions
from kdanalysis.draw.look import names_in, require, short

QUANTITIES = ("n", "value", "norm")
SPLITS = ("by_class", "by_correctness")
FEW, LARGE = 0.5, 1.05  # a minority of the pairs; times the mean of all pairs
IMAGES = 10  # of fewer no class is named


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


@RegionAnatomy.reads(names=True)
def anatomy_reading(table: pd.DataFrame, names: Sequence[str] | None = None) -> Reading:
    """Whether complementary cells are few and large, and where the definitions differ.

    Few are less than half of the pairs; large are a loss and a gradient norm both at least 1.05
    times the mean of all pairs, small both at most the mean over 1.05; at the finest scale. The
    number is their part of pairs, loss and gradient at every scale, under both definitions.
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
    told = " ".join(_verdict(fine, split, finest) for split in SPLITS)
    between = fine[fine.by_class != fine.by_correctness].n.sum() / fine.n.sum()
    told += (
        f" The definitions disagree about {between:.1%} of these pairs, where cell and image are "
        f"both wrong in two ways (GW-LW other)."
    )
    return Reading(told + _classes(table, finest, names), number)


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
    parts = []
    for name in QUANTITIES:
        total = sums[name].sum()
        parts.append(float(sums[sums[split]][name].sum() / total) if total else float("nan"))
    return tuple(parts)


def _parts(n: float, value: float, norm: float) -> str:
    told = f"{value:.1%} of the loss, {norm:.1%} of the gradient"
    return f"{n:.1%} of the pairs, {'no pair has a gradient' if isnan(norm) else told}"


def _verdict(sums: pd.DataFrame, split: str, scale: int) -> str:
    n, value, norm = shares(sums, split)
    name = split.removeprefix("by_")
    if n == 0:
        return f"By {name} no cell of scale {scale} is complementary."
    many = f"By {name} the complementary cells of scale {scale} are {'few' if n < FEW else 'many'}"
    if isnan(norm):
        return f"{many}: {n:.0%} of the pairs; no pair has a gradient."
    size = "about as large as the mean"
    if min(value, norm) >= LARGE * n:
        size = "large"
    elif LARGE * max(value, norm) <= n:
        size = "small"
    return (
        f"{many} and {size}: {n:.0%} of the pairs with {value / n:.2f} times the mean loss and "
        f"{norm / n:.2f} times the mean gradient norm."
    )


def _classes(table: pd.DataFrame, scale: int, names: Sequence[str] | None) -> str:
    """Say which class is complementary most and least often, of those with 10 images or more."""
    require(table, "class")
    rows = table[(table.part == "class") & (table.scale == scale)]
    rows = rows.assign(found=rows.n * rows.by_class).groupby("class")[["found", "n"]].sum()
    rows = rows[rows.n >= IMAGES * scale**2]
    if len(rows) < 2:
        return ""
    share = rows.found / rows.n
    labels = names_in(table, names)
    most, least = (
        f"{short(labels[int(place)], 24)} ({share[place]:.0%})"
        for place in (share.idxmax(), share.idxmin())
    )
    return f" By class they are most frequent in {most}, least in {least}."
