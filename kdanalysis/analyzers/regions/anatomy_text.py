"""What the anatomy of regions says in words and numbers."""

from collections.abc import Sequence
from math import isnan

import pandas as pd

from kdanalysis.analyzers.regions.anatomy_figure import SPLITS, scale_sums
from kdanalysis.draw.look import class_names, require, short

FEW, LARGE = 0.5, 1.05  # a minority of the pairs; times the mean of all pairs
IMAGES = 10  # of fewer no class is named


def anatomy_number(table: pd.DataFrame) -> str:
    """Complementary part of pairs, loss and gradient at every scale, under both definitions."""
    parts = []
    for scale, sums in scale_sums(table).groupby("scale", sort=False):
        for split in SPLITS:
            n, value, norm = shares(sums, split)
            name = split.removeprefix("by_")
            told = f"{value:.1%} of the loss, {norm:.1%} of the gradient"
            told = "no pair has a gradient" if isnan(norm) else told
            parts.append(f"scale {scale} by {name}: {n:.1%} of the pairs, {told}")
    return "; ".join(parts)


def anatomy_sentence(table: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """What to read: whether complementary cells are few and large, where the definitions differ.

    Few are less than half of the pairs; large are a loss and a gradient norm both at least 1.05
    times the mean of all pairs, small both at most the mean over 1.05; at the finest scale.
    """
    sums = scale_sums(table)
    finest = int(sums.index.get_level_values("scale").max())
    if finest == 1:
        return "There is only the whole image, which is consistent with itself."
    fine = sums.loc[[finest]]
    told = " ".join(_verdict(fine, split, finest) for split in SPLITS)
    between = fine[fine.by_class != fine.by_correctness].n.sum() / fine.n.sum()
    told += (
        f" The definitions disagree about {between:.1%} of these pairs, where cell and image are "
        f"both wrong in two ways (GW-LW other)."
    )
    return told + _classes(table, finest, names)


def shares(sums: pd.DataFrame, split: str) -> tuple[float, float, float]:
    """Complementary part of the pairs, of the loss and of the gradient norms; NaN where none."""
    parts = []
    for name in ("n", "value", "norm"):
        total = sums[name].sum()
        parts.append(float(sums[sums[split]][name].sum() / total) if total else float("nan"))
    return tuple(parts)


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
    labels = class_names(int(table["class"].max()) + 1, names)
    most, least = (
        f"{short(labels[int(place)], 24)} ({share[place]:.0%})"
        for place in (share.idxmax(), share.idxmin())
    )
    return f" By class they are most frequent in {most}, least in {least}."
