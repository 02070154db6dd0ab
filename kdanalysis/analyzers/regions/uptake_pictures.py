"""Uptake drawn: whether the student says in a cell what its teacher says there."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.by_region import inner_scales
from kdanalysis.analyzers.evidence import wilson
from kdanalysis.analyzers.noun import Tables, last_epoch
from kdanalysis.analyzers.regions.anatomy_pictures import CASE_COLOURS
from kdanalysis.analyzers.regions.uptake import (
    COLUMNS,
    RegionUptake,
    pooled,
    run_shares,
)
from kdanalysis.core.wording import grid
from kdanalysis.draw.axes import time_axis
from kdanalysis.draw.colours import BLUE, DASHES, GREY, VERMILION
from kdanalysis.draw.look import PAGE, Axes, Figure, fine, new_panels, shared_legend
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.names import short
from kdanalysis.draw.tables import require, state_left_out

SAYS = {  # what a student says, how it is filled and told
    "local": ("full", "the teacher's class of the cell"),
    "whole": ("none", "the teacher's class of the image"),
}
COLOURS = {"same": BLUE, "other": VERMILION}  # where cell and image agree, and where not
SIZES = {"full": 6, "none": 12}  # a ring is seen around a dot of the same share
APART = 0.26  # of a line: marks beside each other, whose intervals would lie on each other
BANDS = "95 % interval, an image's cells taken as one"


def _look(fill: str) -> dict[str, object]:
    return {"fillstyle": fill, "markersize": SIZES[fill], "markeredgewidth": 2}


@RegionUptake.picture("Cells in which the student names its teacher's class", panels=True)
def uptake_by_case(table: pd.DataFrame) -> Figure:
    """Share of cells in which the student names the teacher's class, by case, and over epochs.

    Filled marks are the teacher's class of that cell, hollow ones its class of the whole image,
    where that is another; a column of marks a scale, of the last epoch. With several epochs, the
    lower line shows the cells whose class is the image's and those whose class is another. Lines
    and bands are Wilson's 95 % intervals, as if the cells of an image all agreed.
    """
    require(table, *COLUMNS, number="local")
    scales = inner_scales(table)
    several = table.epoch.nunique() > 1
    figure, axes = new_panels(
        1 + several,
        len(scales),
        figsize=(PAGE, 3.0 + 2.4 * several),
        sharey="row",
        squeeze=False,
    )
    last = last_epoch(table)
    for place, scale in enumerate(scales):
        _cases(axes[0, place], last[last.scale == scale])
        axes[0, place].set_title(f"{grid(scale)} cells", loc="left")
        if several:
            _epochs(axes[1, place], table[table.scale == scale])
    for line in axes:
        line[0].set_ylabel("cells in which\nthe student names it (%)")
    if several:
        axes[1, -1].legend(loc="best", frameon=False)
    below = "above: case, last epoch; below: epoch" if several else "case"
    marks = "lines, bands" if several else "line"
    figure.supxlabel(
        f"{below}\n({marks}: {BANDS}){state_left_out(table)}",
        fontsize="medium",
    )
    shared_legend(figure, axes[0, 0], "upper right", ncols=2)
    return figure


@RegionUptake.picture(
    "Cells in which each student names its teacher's class", of_all=True, panels=True
)
def uptake_of_runs(tables: Tables) -> Figure:
    """A line a student: how often it names the teacher's class, at its last epoch.

    At the finest scale that all have. Filled marks are the teacher's class of the cell, hollow
    ones its class of the whole image where that is another; lines are Wilson's 95 % intervals,
    as if the cells of an image all agreed.

    Raises:
        ValueError: the students have no scale in common.
    """
    rows = run_shares(tables)
    runs = list(tables)
    figure, ax = new_panels(1, 1, figsize=(PAGE, 1.4 + 0.5 * len(runs)))
    far = [0.0]
    for row in rows.itertuples():
        colour = COLOURS[row.kind]
        for name, (fill, _) in SAYS.items():
            if name == "local" or row.kind == "other":
                share = getattr(row, name)
                place = runs.index(row.run) + APART * (
                    (row.kind == "other") + (name == "whole") - 1
                )
                ends = _ends(share, row.images)
                ax.hlines(place, *ends, color=colour, linewidth=1.4)
                far += [100 * share, ends[1]]
                ax.plot(100 * share, place, "o", color=colour, **_look(fill))
    for text, colour, fill in (
        ("where cell and image agree", BLUE, "full"),
        ("where not: the cell's class", VERMILION, "full"),
        ("where not: the image's class", VERMILION, "none"),
    ):
        ax.plot([], [], "o", color=colour, label=text, **_look(fill))
    handles = ax.lines[-3:]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)
    ax.set_yticks(range(len(runs)), labels=[short(run, 24, runs) for run in runs], parse_math=False)
    ax.set_ylim(len(runs) - 0.4, -0.6)
    ax.set_xlim(0, min(100, 1.15 * np.nanmax(far) or 1))
    ax.grid(axis="x", color=GREY, alpha=0.3, linewidth=0.6)
    scale = rows.scale.iloc[0]
    ax.set_xlabel(
        f"{grid(scale)} cells in which the student names the teacher's class (%)\n(line: {BANDS})"
    )
    return figure


def _ends(share: float, images: float) -> tuple[float, float]:
    """Ends of the interval in percent; NaN in tables made before images were counted."""
    low, high = wilson(share, images)
    return 100 * low, 100 * high


def _cases(ax: Axes, rows: pd.DataFrame) -> None:
    rows = rows.reset_index(drop=True)
    for name, (fill, label) in SAYS.items():
        some = rows[(rows.n > 0) & (rows.by_class | (name == "local"))]
        for place, row in some.iterrows():
            colour = CASE_COLOURS[row.case]
            look = {"color": colour, "clip_on": False} | _look(fill)
            ends = _ends(row[name], row.get("case_images", np.nan))
            side = APART / 2 * (row.by_class * (-1) ** (name == "local"))
            ax.vlines(place + side, *ends, color=colour, linewidth=1.4)
            ax.plot(place + side, 100 * row[name], "o", **look)
        ax.plot([], [], "o", color=GREY, label=label, **_look(fill))
    ax.set_xticks(range(len(rows)), labels=[case.replace(" ", "\n") for case in rows.case])
    ax.tick_params(axis="x", labelsize=fine())
    ax.set_xlim(-0.6, len(rows) - 0.4)
    ax.set_ylim(0, 100)


def _epochs(ax: Axes, rows: pd.DataFrame) -> None:
    epochs = rows.epoch.unique()
    lines = (
        (False, "local", BLUE, DASHES[0], "consistent: the class"),
        (True, "local", VERMILION, DASHES[0], "other: the cell's class"),
        (True, "whole", VERMILION, DASHES[2], "other: the image's class"),
    )
    for other, name, colour, dash, label in lines:
        of_case = rows[rows.by_class == other]
        parts = [pooled(of_case[of_case.epoch == e]) for e in epochs]
        low, high = zip(*(_ends(part[name], part["images"]) for part in parts), strict=True)
        look = {"linestyle": dash, "marker": "o" if np.size(epochs) <= 12 else None}
        values = [100 * part[name] for part in parts]
        banded_line(ax, epochs, values, low, high, colour, label=label, **look)
    time_axis(ax, rows.epoch)
    ax.set_ylim(0, 100)
