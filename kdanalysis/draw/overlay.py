"""Runs over each other in one figure: curves over any quantity, or dots by name."""

import numpy as np
import pandas as pd

from kdanalysis.core.wording import UNKNOWN, numerals
from kdanalysis.draw.axes import round_ticks
from kdanalysis.draw.colours import FAINT, MARKERS, loss_colours
from kdanalysis.draw.look import (
    COLUMN,
    PAGE,
    Axes,
    Figure,
    few_ticks,
    fine,
    plain_log,
    shared_legend,
    styled,
)
from kdanalysis.draw.names import short
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.tables import require, require_once, state_left_out

ACROSS = 3  # panels beside each other
MOST = 9  # panels
NAMES = 4  # of runs on a line of the legend
MOST_TICKS, FEW_TICKS = 5, 3  # of a frame alone, and of one of several or beside numbers
MOST_NUMBERS = 3  # columns of them


@styled
def curves_over(
    table: pd.DataFrame,
    x: str,
    value: str,
    panel: str,
    labels: tuple[str, str],
    log: bool = False,
) -> Figure:
    """One panel for every entry of a column, at most 9; one line with marks a run.

    Args:
        table: columns run, and the three named next. Between the values of its columns low and
            high, where it has them, curves have a band.
        x: the column along the horizontal axis, of whole numbers.
        value: the column along the vertical one, shared by all panels.
        panel: the column that tells the panels apart.
        labels: of the two axes.
        log: whether the values stand on a logarithmic axis.
    """
    require(table, "run", x, value, panel, number=value)
    runs, panels = (list(dict.fromkeys(table[name])) for name in ("run", panel))
    ends = table.groupby(panel)[x].agg(["min", "max"])
    alike = len(ends.drop_duplicates()) == 1
    figure, grid = panel_grid(min(len(panels), MOST), ACROSS, PAGE, 1.7, 0.9, sharex=alike)
    looks = _looks(runs)
    for ax, name in zip(grid, panels, strict=False):
        rows = table[table[panel] == name]
        for run in runs:
            part = rows[rows.run == run].sort_values(x)
            if "low" in part:
                band = {"color": looks[run]["color"], "alpha": 0.13, "linewidth": 0}
                ax.fill_between(part[x], part.low, part.high, **band)
            ax.plot(part[x], part[value], label=short(run, 24, runs), **looks[run])
        _finish(ax, name, log)
    figure.supxlabel(labels[0] + state_left_out(table), fontsize="medium")
    figure.supylabel(labels[1], fontsize="medium", parse_math=False)
    shared_legend(figure, grid[0], "upper left", ncols=min(len(runs), NAMES))
    return figure


@styled
def dots_by_name(
    table: pd.DataFrame,
    value: str,
    row: str,
    panel: str | None,
    label: str,
    log: bool = False,
    limits: tuple[float | int, float | int | None] | None = None,
) -> Figure:
    """One panel for every entry of a column, at most 9; one line a name with a dot a run.

    Args:
        table: columns run, and the three named next; one row a run, name and panel. Between the
            values of its columns low and high, where it has them, dots have a line.
        value: the column to draw.
        row: the column of names, which stand at the left.
        panel: the column that tells the panels apart; None for a single one, with the values of at
            most 3 runs as numbers beside it.
        label: what the values are.
        log: whether the values stand on a logarithmic axis.
        limits: of the axis of values, None for an open end.
    """
    keys = ["run", row, *([panel] if panel else [])]
    require(table, value, *keys, number=value)
    require_once(table, *keys)
    runs, names = (list(dict.fromkeys(table[name])) for name in ("run", row))
    shown = [short(name, 24, names) for name in names]
    parts = dict(iter(table.groupby(panel, sort=False))) if panel else {"": table}
    line, numbers = 0.35 + 0.24 * len(names), panel is None and len(runs) <= MOST_NUMBERS
    width = COLUMN if numbers and len(runs) < MOST_NUMBERS else PAGE
    below = label + state_left_out(table)
    more = below.count("\n") + (len(runs) - 1) // NAMES  # lines of texts around the panels
    figure, grid = panel_grid(min(len(parts), MOST), ACROSS, width, line, 0.9 + 0.2 * more)
    looks = _looks(runs)
    for ax, (name, rows) in zip(grid, parts.items(), strict=False):
        for place, run in enumerate(runs):
            part = rows[rows.run == run]
            apart = min(0.16, 0.6 / len(runs)) * (place - (len(runs) - 1) / 2)
            height = [names.index(one) + apart for one in part[row]]
            if "low" in part:
                ax.hlines(height, part.low, part.high, color=looks[run]["color"], linewidth=1.4)
            look = looks[run] | {"linestyle": "none", "markersize": 6}
            ax.plot(part[value], height, label=short(run, 24, runs), **look)
        ax.set_yticks(range(len(names)), labels=shown, parse_math=False)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.grid(axis="y", color=FAINT, linewidth=0.5)
        ax.set_title(short(name, 26, parts), loc="left", parse_math=False)
        if log:
            ax.set_xscale("log")
    if limits is not None:
        grid[0].set_xlim(*limits)
    ticks = FEW_TICKS if numbers or len(grid) > 1 else MOST_TICKS
    if log:
        round_ticks(grid[0].xaxis, ticks)
    elif panel is None:
        few_ticks(grid[0].xaxis, ticks)
    if numbers:
        _numbers(grid[0], table.pivot(index=row, columns="run", values=value), names, looks)
    figure.supxlabel(below, fontsize="medium", parse_math=False)
    shared_legend(figure, grid[0], "upper left", ncols=min(len(runs), NAMES), handlelength=1)
    return figure


def _numbers(
    ax: Axes, values: pd.DataFrame, names: list, looks: dict[str, dict[str, object]]
) -> None:
    """Write the values right of the axes, a column a run below its mark."""
    from matplotlib.transforms import offset_copy

    right = 0.0  # points
    for run, texts in zip(looks, _texts(values.loc[names, list(looks)].to_numpy()), strict=True):
        wide = 0.62 * fine() * max(map(len, texts))
        right += fine() + wide
        for height, text in enumerate(texts):
            ax.annotate(text, (1, height), (right, 0), ("axes fraction", "data"), "offset points",
                        ha="right", va="center", fontsize=fine())  # fmt: skip
        place = offset_copy(ax.get_yaxis_transform(), ax.figure, right - wide / 2, 0, "points")
        ax.plot(1, -0.9, transform=place, clip_on=False, markersize=6, **looks[run])


def _texts(values: np.ndarray) -> np.ndarray:
    """Numbers by column, with the same decimals where these hide none, else by line."""
    whole = np.reshape(numerals(*values.flat), values.shape)
    several = len({len(text.partition(".")[2]) for text in whole.flat if text != UNKNOWN}) > 1
    shown = np.array([numerals(*line) for line in values]) if several else whole
    return np.where(np.isnan(values), "", shown).T


def _looks(runs: list[str]) -> dict[str, dict[str, object]]:
    """Colour, by the loss that a run is named by, and marker of every run."""
    return {
        run: {"color": colour, "marker": MARKERS[place % len(MARKERS)]}
        for place, (run, colour) in enumerate(loss_colours(runs).items())
    }


def two_lines(title: str, length: int) -> str:
    """Write a title above a narrow panel; of a longer one the term stands below its loss."""
    loss, colon, term = title.partition(": ")
    if len(title) <= length or not colon:
        return short(title, length)
    return f"{short(loss, length)}\n{short(term, length)}"


def _finish(ax: Axes, title: object, log: bool) -> None:
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    ax.set_title(two_lines(str(title), 26), loc="left", parse_math=False)
    few_ticks(ax.xaxis, 5, integer=True)
    if log:
        plain_log(ax)
