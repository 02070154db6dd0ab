"""Figures of top-k mass (figure 7): how many classes the teacher's probability spreads over."""

import pandas as pd
from matplotlib.axes import Axes

from kdanalysis.draw.look import (
    GREY,
    PAGE,
    ladder_colours,
    new_axes,
    require,
    side_legend,
    state_left_out,
    styled,
)

LOGARITHMIC = 20  # more classes than this are laid out on a logarithmic axis


@styled
def mass_by_k(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean mass of the k most probable classes against k, one curve a temperature.

    The band is the middle half of the samples, the dashed line a uniform teacher. A ring marks
    the knee, the k at which a curve stands highest above the uniform line.

    Args:
        table: columns temperature, k, mean, q25, q75, non_finite (``TopKMass``).
        ax: axes to draw on; a new figure when None.
    """
    require(table, "q25", "q75")
    ax = ax or new_axes(PAGE, 3.3)
    classes = int(table.k.max())
    colours = ladder_colours(table.temperature)
    knees = knee_by_temperature(table)
    for temperature, rows in table.groupby("temperature"):
        rows, colour, knee = rows.sort_values("k"), colours[temperature], knees[temperature]
        ax.fill_between(rows.k, rows.q25, rows.q75, color=colour, alpha=0.13, linewidth=0)
        label = f"T = {temperature:g}: k = {knee}"
        ax.plot(rows.k, rows["mean"], color=colour, label=label)
        height = rows["mean"][rows.k == knee]
        ax.plot(
            [knee],
            height,
            marker="o",
            markersize=7,
            markerfacecolor="none",
            color=colour,
            markeredgewidth=1.6,
            linestyle="none",
        )
    first = table[table.temperature == table.temperature.iloc[0]].sort_values("k")
    ax.plot(first.k, first.k / classes, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    _lay_out(ax, classes)
    ax.set_xlabel(
        "k, the number of most probable classes\n"
        f"(line: mean; band: middle half of the samples; dashed: uniform){state_left_out(table)}"
    )
    ax.set_ylabel("teacher mass of the top k")
    side_legend(ax, "knee (ring): largest\ngap to uniform")
    return ax


def knee_by_temperature(table: pd.DataFrame) -> dict[float, int]:
    """The smallest k at which the mean mass stands highest above k / c, by temperature."""
    require(table, "temperature", "k", "mean", number="mean")
    classes = table.k.max()
    above = table.assign(above=table["mean"] - table.k / classes)
    knees = {}
    for temperature, rows in above.groupby("temperature"):
        near = rows[rows.above >= rows.above.max() - 1e-12]
        knees[temperature] = int(near.k.min())
    return knees


def mass_number(table: pd.DataFrame) -> str:
    """Knee k and its mean mass, by temperature."""
    mass = table.set_index(["temperature", "k"])["mean"]
    return "; ".join(
        f"T = {t:g}: k = {k} holds {mass[(t, k)]:.2f}"
        for t, k in knee_by_temperature(table).items()
    )


def mass_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the knee moves to the right as T grows."""
    knees = knee_by_temperature(table)
    ladder = list(knees.values())
    listed = ", ".join(f"{k} at T = {t:g}" for t, k in knees.items())
    if len(ladder) < 2:
        return f"The knee of the top-k mass lies at k = {listed}."
    if ladder == sorted(ladder) and ladder[0] < ladder[-1]:
        return f"The knee of the top-k mass moves right with the temperature: k = {listed}."
    return f"These data do not show the knee moving right with the temperature: k = {listed}."


def _lay_out(ax: Axes, classes: int) -> None:
    ax.set_ylim(0, 1.02)
    if classes <= LOGARITHMIC:
        ax.set_xticks(range(1, classes + 1))
        return
    ax.set_xscale("log")
    marks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if k < classes]
    close = marks[-1] > 0.7 * classes
    ax.set_xticks([*marks[: -1 if close else None], classes])
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.set_xlim(0.95, classes * 1.05)
