"""Runs together: one small panel a quantity, one line a run over the training steps."""

import pandas as pd

from kdanalysis.draw.axes import round_ticks
from kdanalysis.draw.colours import BLACK, CYCLE, DASHES, FAINT, MARKERS, loss_colours
from kdanalysis.draw.look import PAGE, Axes, Figure, shared_legend, styled
from kdanalysis.draw.names import short
from kdanalysis.draw.overlay import dots_by_name, two_lines
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.tables import require, state_left_out

ACROSS = 3  # panels beside each other
TICKS = 4  # of a logarithmic axis
OVER_SAMPLES = "\n(line: 95 % interval over samples)"
POINTS = 30  # of a line; more steps are put together, as a single batch is noisy


@styled
def lines_by_run(
    table: pd.DataFrame,
    value: str,
    panel: str,
    label: str,
    log: bool = False,
    limits: tuple[float | int, float | int | None] | None = None,
) -> Figure:
    """One panel for every entry of a column: one line a run; of runs without steps dots by entry.

    Of more than 30 steps in any run neighbours are put together, weighted by their samples; the
    axis says how many. Values of 0 have no place on a logarithmic axis and leave a gap.

    Args:
        table: columns run, step, n, and the two named next; rows without a step are left out. Of
            runs without steps dots have a line from its column low to high, where it has them.
        value: the column to draw.
        panel: the column that tells the panels apart.
        label: what the values are.
        log: whether the values stand on a logarithmic axis.
        limits: of the axis of values, None for an open end.
    """
    require(table, "run", "step", "n", value, panel, number=value)
    rows = table.dropna(subset="step")
    runs, panels = list(dict.fromkeys(rows.run)), list(dict.fromkeys(rows[panel]))
    over_steps = bool(rows.groupby("run").step.nunique().max() > 1)
    if not over_steps:
        said = f"{label}{OVER_SAMPLES if 'low' in rows else ''}"
        return dots_by_name(rows, value, panel, None, said, log, limits)
    rows, together = coarse(rows, value, panel)
    width = min(PAGE, PAGE * len(panels) / ACROSS + 1.0)
    figure, grid = panel_grid(len(panels), ACROSS, width, 1.6, 0.9)
    for ax, name in zip(grid, panels, strict=True):
        _draw_panel(ax, rows[rows[panel] == name], value, runs)
        ax.set_title(two_lines(str(name), 26), loc="left", parse_math=False)
    first = grid[0]
    if log:
        first.set_yscale("log")
    if limits is not None:
        first.set_ylim(*limits)
    if log:
        round_ticks(first.yaxis, TICKS)
    figure.supxlabel(step_label(together) + state_left_out(table), fontsize="medium")
    figure.supylabel(label, fontsize="medium", parse_math=False)
    shared_legend(figure, first, "upper left", ncols=min(len(runs), 4), handlelength=3)
    return figure


def coarse(rows: pd.DataFrame, value: str, panel: str) -> tuple[pd.DataFrame, int]:
    """Put neighbouring steps of a run together, at most 30 points a line; and how many of them.

    A point stands at the mean of its steps and holds the mean of its values by samples.
    """
    together = -(-rows.groupby("run").step.nunique().max() // POINTS)
    place = rows.groupby("run").step.rank(method="dense").sub(1).astype(int) // together
    known = rows.assign(place=place, step=rows.step.astype(float)).dropna(subset=value)
    known = known.assign(total=known[value] * known.n)
    keys = ["run", panel, "place"]
    sums = known.groupby(keys, sort=False).agg({"total": "sum", "n": "sum", "step": "mean"})
    return sums.assign(**{value: sums.total / sums.n}).reset_index(), int(together)


def step_label(together: int) -> str:
    """Label of an axis of steps, of which so many make a point."""
    more = f" (points: means of {together} captured steps)" if together > 1 else ""
    return f"training step{more}"


def _draw_panel(ax: Axes, rows: pd.DataFrame, value: str, runs: list[str]) -> None:
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    colours, lines = loss_colours(runs), []
    for i, run in enumerate(runs):
        part = rows[rows.run == run].sort_values("step")
        lines.append((part.step.tolist(), part[value].tolist()))
        ax.plot(
            part.step,
            part[value],
            color=colours[run],
            linestyle=DASHES[i // len(CYCLE) % len(DASHES)],
            marker=None if len(part) > 1 else MARKERS[i % len(MARKERS)],
            markersize=6,
            label=short(run, 24, runs),
        )
    if len(lines) > 1 and all(line == lines[0] for line in lines):
        ax.plot(*lines[0], color=BLACK)  # no run's own, as of the teacher that all share
