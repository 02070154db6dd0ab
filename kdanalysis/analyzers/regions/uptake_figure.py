"""Figures of uptake: whether the student says in a cell what its teacher says there."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.regions.anatomy_figure import CASE_COLOURS
from kdanalysis.draw.look import (
    BLUE,
    DASHES,
    GREY,
    PAGE,
    VERMILION,
    Axes,
    Figure,
    new_panels,
    require,
    state_left_out,
    styled,
)

SAYS = {  # what a student says, how it is filled and told
    "local": ("full", "the teacher's class of the cell"),
    "whole": ("none", "the teacher's class of the image"),
}
COLUMNS = ("epoch", "scale", "case", "by_class", "n", "local", "whole")


@styled
def uptake_by_case(table: pd.DataFrame) -> Figure:
    """Share of cells in which the student names the teacher's class, by case, and over epochs.

    Filled marks are the teacher's class of that cell, hollow ones its class of the whole image,
    where that is another; a column of marks a scale, of the last epoch. With several epochs, the
    lower line shows the cells whose class is the image's and those whose class is another.

    Args:
        table: as ``RegionUptake.table`` gives it.
    """
    require(table, *COLUMNS, number="local")
    scales = [m for m in table.scale.unique().tolist() if m > 1] or [1]
    several = table.epoch.nunique() > 1
    figure, axes = new_panels(
        1 + several,
        len(scales),
        figsize=(PAGE, 3.0 + 2.4 * several),
        sharey="row",
        squeeze=False,
    )
    last = table[table.epoch == table.epoch.max()]
    for place, scale in enumerate(scales):
        _cases(axes[0, place], last[last.scale == scale])
        axes[0, place].set_title(f"{scale} x {scale} cells", loc="left")
        if several:
            _epochs(axes[1, place], table[table.scale == scale])
    for line in axes:
        line[0].set_ylabel("cells in which\nthe student names it (%)")
    if several:
        axes[1, -1].legend(loc="best", frameon=False)
    figure.supxlabel(
        f"{'above: case, last epoch; below: epoch' if several else 'case'}{state_left_out(table)}",
        fontsize=10,
    )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    return figure


def uptake_number(table: pd.DataFrame) -> str:
    """At the last epoch, by scale: how often the student names the teacher's class of the cell."""
    parts = []
    for scale, (same, other) in last_epoch(table).items():
        told = [f"{same['local']:.1%} where it is the image's"] if same["n"] else []
        if other["n"]:
            told.append(
                f"{other['local']:.1%} where it is another (the image's class {other['whole']:.1%})"
            )
        parts.append(f"scale {scale}: {', '.join(told)}")
    return "; ".join(parts)


def uptake_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the student takes up the local class where it is not the image's."""
    found = last_epoch(table)
    scale = max(found)
    same, other = found[scale]
    if not other["n"]:
        return f"At scale {scale} no cell names another class than its image."
    first = (
        f"Where the teacher's cell at scale {scale} names another class than the image, the "
        f"student names that class in {other['local']:.0%} of these {other['n']:,} cells and the "
        f"image's in {other['whole']:.0%}"
    )
    rest = f"; where cell and image agree, it follows in {same['local']:.0%}." if same["n"] else "."
    return f"{first}{rest} {_verdict(other['local'], other['whole'])}"


def _verdict(local: float, whole: float) -> str:
    if local == whole:
        return "The local class and the image's are named equally often."
    if local > whole:
        return "The local class is taken up more often than the image's."
    return "The image's class is named more often than the local one."


def last_epoch(table: pd.DataFrame) -> dict[int, tuple[dict, dict]]:
    """Return by scale n, local and whole where the cell names the image's class, and another.

    Scales beyond the whole image, where there are any; shares weigh the cases by their pairs.
    """
    require(table, *COLUMNS, number="local")
    rows = table[table.epoch == table.epoch.max()]
    scales = [m for m in rows.scale.unique().tolist() if m > 1] or [1]
    return {
        m: tuple(
            _pooled(rows[(rows.scale == m) & (rows.by_class == other)]) for other in (False, True)
        )
        for m in scales
    }


def _pooled(rows: pd.DataFrame) -> dict[str, int | float]:
    n = int(rows.n.sum())
    sums = {name: float((rows[name].fillna(0.0) * rows.n).sum()) for name in SAYS}
    return {"n": n} | {name: total / n if n else float("nan") for name, total in sums.items()}


def _cases(ax: Axes, rows: pd.DataFrame) -> None:
    rows = rows.reset_index(drop=True)
    for name, (fill, label) in SAYS.items():
        some = rows[(rows.n > 0) & (rows.by_class | (name == "local"))]
        for place, row in some.iterrows():
            ax.plot(
                place,
                100 * row[name],
                "o",
                color=CASE_COLOURS[row.case],
                fillstyle=fill,
                markersize=9,
                markeredgewidth=2,
            )
        ax.plot([], [], "o", color=GREY, fillstyle=fill, markersize=9, label=label)
    ax.set_xticks(range(len(rows)), labels=[case.replace(" ", "\n") for case in rows.case])
    ax.tick_params(axis="x", labelsize=9)
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
        values = [100 * _pooled(of_case[of_case.epoch == e])[name] for e in epochs]
        marker = "o" if np.size(epochs) <= 12 else None
        ax.plot(epochs, values, color=colour, linestyle=dash, marker=marker, label=label)
    ax.set_ylim(0, 100)
