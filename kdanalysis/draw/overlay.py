"""Runs over each other in one figure: curves over any quantity, or dots by name."""

import pandas as pd

from kdanalysis.draw.colours import FAINT, MARKERS, loss_colours
from kdanalysis.draw.look import PAGE, Axes, Figure, few_ticks, plain_log, shared_legend, styled
from kdanalysis.draw.names import short
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.tables import require, state_left_out

ACROSS = 3  # panels beside each other
MOST = 9  # panels


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
        table: columns run, and the three named next.
        x: the column along the horizontal axis, of whole numbers.
        value: the column along the vertical one, shared by all panels.
        panel: the column that tells the panels apart.
        labels: of the two axes.
        log: whether the values stand on a logarithmic axis.
    """
    require(table, "run", x, value, panel, number=value)
    runs, panels = (list(dict.fromkeys(table[name])) for name in ("run", panel))
    figure, grid = panel_grid(min(len(panels), MOST), ACROSS, PAGE, 1.7, 0.9)
    looks = _looks(runs)
    for ax, name in zip(grid, panels, strict=False):
        rows = table[table[panel] == name]
        for run in runs:
            part = rows[rows.run == run].sort_values(x)
            ax.plot(part[x], part[value], label=short(run, 24), **looks[run])
        _finish(ax, name, log)
    figure.supxlabel(labels[0] + state_left_out(table), fontsize="medium")
    figure.supylabel(labels[1], fontsize="medium", parse_math=False)
    shared_legend(figure, grid[0], "upper left", ncols=min(len(runs), 4))
    return figure


@styled
def dots_by_name(
    table: pd.DataFrame, value: str, row: str, panel: str, label: str, log: bool = False
) -> Figure:
    """One panel for every entry of a column, at most 9; one line a name with a dot a run.

    Args:
        table: columns run, and the three named next; one row a run, name and panel.
        value: the column to draw.
        row: the column of names, which stand at the left.
        panel: the column that tells the panels apart.
        label: what the values are.
        log: whether the values stand on a logarithmic axis.
    """
    require(table, "run", value, row, panel, number=value)
    runs, names, panels = (list(dict.fromkeys(table[name])) for name in ("run", row, panel))
    line = 0.35 + 0.24 * len(names)
    figure, grid = panel_grid(min(len(panels), MOST), ACROSS, PAGE, line, 0.9)
    looks = _looks(runs)
    for ax, name in zip(grid, panels, strict=False):
        rows = table[table[panel] == name]
        for place, run in enumerate(runs):
            part = rows[rows.run == run]
            height = [names.index(one) + 0.16 * (place - (len(runs) - 1) / 2) for one in part[row]]
            look = looks[run] | {"linestyle": "none", "markersize": 6}
            ax.plot(part[value], height, label=short(run, 24), **look)
        ax.set_yticks(range(len(names)), labels=[short(n, 24) for n in names], parse_math=False)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.grid(axis="y", color=FAINT, linewidth=0.5)
        ax.set_title(short(name, 26), loc="left", parse_math=False)
        if log:
            ax.set_xscale("log")
    figure.supxlabel(label + state_left_out(table), fontsize="medium", parse_math=False)
    shared_legend(figure, grid[0], "upper left", ncols=min(len(runs), 4), handlelength=1)
    return figure


def _looks(runs: list[str]) -> dict[str, dict[str, object]]:
    """Colour, by the loss that a run is named by, and marker of every run."""
    return {
        run: {"color": colour, "marker": MARKERS[place % len(MARKERS)]}
        for place, (run, colour) in enumerate(loss_colours(runs).items())
    }


def _finish(ax: Axes, title: object, log: bool) -> None:
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    ax.set_title(short(title, 26), loc="left", parse_math=False)
    few_ticks(ax.xaxis, 5, integer=True)
    if log:
        plain_log(ax)
