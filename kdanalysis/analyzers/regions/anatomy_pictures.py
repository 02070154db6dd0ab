"""Anatomy of regions drawn (figure 15; SDD): what the cases are, weigh and pull."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from kdanalysis.analyzers.by_region import inner_scales
from kdanalysis.analyzers.regions.anatomy import RegionAnatomy, cell_rows, scale_sums
from kdanalysis.core.wording import grid, numerals
from kdanalysis.draw.colours import BLUE, ORANGE, PURPLE, SKY, VERMILION
from kdanalysis.draw.look import PAGE, Axes, Figure, new_panels, shared_legend
from kdanalysis.draw.marks import heat_map, stacked_bars
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.tables import state_left_out

CASE_COLOURS = {
    "GT-LT": BLUE,
    "GW-LW same": SKY,
    "GW-LW other": PURPLE,
    "GT-LW": ORANGE,
    "GW-LT": VERMILION,
}
MEANING = {
    "GT-LT": "image right, cell right",
    "GW-LW same": "both wrong, one class",
    "GW-LW other": "both wrong, two classes:\ncomplementary by class",
    "GT-LW": "image right, cell wrong:\ncomplementary",
    "GW-LT": "image wrong, cell right:\ncomplementary",
}
SHARES = {"n": "pairs", "value": "loss", "norm": "gradient"}
LABELS = {
    "by_class": "complementary\nby class",
    "by_correctness": "complementary\nby correctness",
}


WRITTEN = 5  # more cells beside each other have no room for their numbers


@RegionAnatomy.picture(
    "Pairs of image and cell, their loss and gradient, by case; G and L are the teacher's class of "
    "the image and of the cell, T right and W wrong",
    panels=True,
)
def anatomy_by_scale(table: pd.DataFrame) -> Figure:
    """What part of the (sample, cell) pairs, of the loss and of the gradient norms every case is.

    A line of bars a scale beyond the whole image, all epochs together. Where a case's part of the
    loss is wider than its part of the pairs, its cells are harder than the mean.
    """
    sums = scale_sums(table)
    scales = sums.index.unique("scale").tolist()
    figure, axes = panel_grid(len(scales), 1, PAGE, 1.15, 1.2, sharey=False)
    for ax, scale in zip(axes, scales, strict=True):
        _bars(ax, sums.loc[scale])
        ax.set_title(_cells(scale), loc="left")
    axes[-1].set_xlabel(f"part of the sum over all (image, cell) pairs (%){state_left_out(table)}")
    shared_legend(figure, axes[0], "right upper")
    return figure


@RegionAnatomy.picture("Complementary cells, and the gradient norm, by cell", panels=True)
def anatomy_of_cells(table: pd.DataFrame) -> Figure:
    """Every cell of every scale: how often it is complementary, and its mean gradient norm.

    A line a scale. The first two columns share one colour scale, the third has its own. More than
    5 x 5 cells have no room for their numbers.
    """
    from matplotlib.colors import Normalize

    rows = cell_rows(table)
    scales = inner_scales(rows)
    size = PAGE, 1.4 + 1.95 * len(scales)
    figure, axes = new_panels(len(scales), 3, figsize=size, squeeze=False)
    maps = {name: [_map(rows, scale, name) for scale in scales] for name in (*LABELS, "norm")}
    shared = Normalize(0, max(float(x.max()) for name in LABELS for x in maps[name]) or 1.0)
    own = Normalize(min(x.min() for x in maps["norm"]), max(x.max() for x in maps["norm"]))
    told = iter(numerals(*np.concatenate([values.flat for values in maps["norm"]])))
    for column, (name, values) in zip(axes.T, maps.items(), strict=True):
        norm = own if name == "norm" else shared
        for ax, of_scale in zip(column, values, strict=True):
            of_cells = (f"{x:.0f}" for x in of_scale.flat) if name in LABELS else told
            _heat(ax, of_scale, norm, of_cells)
        column[0].set_title(LABELS.get(name, "gradient norm"))
    for part, label in ((axes[:, :2], "share of images (%)"), (axes[:, 2:], "mean L2 norm")):
        bar = figure.colorbar(
            part[0, 0].images[0], ax=part, location="bottom", label=label, aspect=15 * part.shape[1]
        )
        bar.outline.set_visible(False)
    for ax, scale in zip(axes[:, 0], scales, strict=True):
        ax.set_ylabel(_cells(scale))
    return figure


def _bars(ax: Axes, sums: pd.DataFrame) -> None:
    parts = (sums[list(SHARES)] / sums[list(SHARES)].sum()).fillna(0.0)
    start, places = np.zeros(len(SHARES)), range(len(SHARES))
    for case, shares in parts.iterrows():
        widths = 100 * shares.to_numpy()
        label = f"{case}\n{MEANING[case]}"
        stacked_bars(ax, places, widths, start, 0.72, CASE_COLOURS[case], label=label)
        start += widths
    ax.set_yticks(places, labels=list(SHARES.values()))
    ax.invert_yaxis()
    ax.set_xlim(0, 100)


def _map(rows: pd.DataFrame, scale: int, name: str) -> np.ndarray:
    """Values (m, m) of the cells: percent of complementary images, or the mean norm."""
    rows = rows[(rows.scale == scale) & (rows.n > 0)]
    weighed = rows.assign(
        found=rows.n * (rows.norm if name == "norm" else 100.0 * rows[name].astype(float))
    )
    sums = weighed.groupby(["row", "column"])[["found", "n"]].sum()
    return (sums.found / sums.n).to_numpy().reshape(scale, scale)


def _heat(ax: Axes, values: np.ndarray, norm: Callable, told: Iterator[str]) -> None:
    """Draw the cells of a scale, with the next numbers in them where there is room."""
    texts = dict(zip(np.ndindex(values.shape), told, strict=False))
    texts = texts if len(values) <= WRITTEN else {}
    look = {"ink": "black", "cmap": "cividis", "norm": norm, "aspect": "equal"}
    heat_map(ax, values, texts, lambda value: norm(value) < 0.55, **look)


def _cells(scale: int) -> str:
    return "whole image" if scale == 1 else f"{grid(scale)} cells"
