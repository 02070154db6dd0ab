"""A ladder drawn (figure 18): from the teacher over its stepping stones to the student."""

from collections.abc import Sequence

import pandas as pd

from kdanalysis.analyzers.stones.ladder import LadderProfile, LadderTraining, said
from kdanalysis.draw.colours import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    VERMILION,
    ladder_colours,
)
from kdanalysis.draw.look import (
    PAGE,
    Axes,
    Figure,
    few_ticks,
    new_panels,
    plain_log,
    shared_legend,
    slant_ticks,
    top_legend,
)
from kdanalysis.draw.tables import require, state_left_out

SHARES = {
    "agreement_teacher": ("says what the teacher says", ORANGE),
    "overlap": ("top-k shared with the teacher", GREEN),
}
DISTANCES = {
    "divergence_teacher": ("from the teacher", VERMILION),
    "divergence_student": ("from the student", GREY),
}


@LadderProfile.picture("From the teacher over its stones to the student", panels=True)
def ladder_by_stone(table: pd.DataFrame) -> Figure:
    """Four panels over the sides, the teacher's first: accuracy, shares, correlation, divergences.

    Accuracy and shares start at 0; the rank correlation of the classes outside the teacher's k
    largest has its own axis, with the line of 0.
    """
    columns = ("side", "accuracy", *SHARES, *DISTANCES, "relation", "k", "temperature")
    require(table, *columns, number="overlap")
    figure, grid = new_panels(2, 2, figsize=(PAGE, 5.0), sharex=True)
    accuracy, shares, relation, distances = grid.flat
    if table.accuracy.notna().any():
        accuracy.plot(table.side, 100 * table.accuracy, color=BLUE, marker=MARKERS[0])
    else:
        accuracy.text(0.5, 0.5, "no labels", transform=accuracy.transAxes, ha="center")
    accuracy.set_ylabel("right (%)")
    for (name, (label, colour)), marker in zip(SHARES.items(), MARKERS[1:], strict=False):
        label = label.replace("top-k", f"top {table.k.iloc[0]}")
        shares.plot(table.side, 100 * table[name], color=colour, label=label, marker=marker)
    shares.set_ylabel("share (%)")
    relation.plot(table.side, table.relation, color=BLACK, marker="D")
    relation.axhline(0, color=GREY, linewidth=1, zorder=0)
    relation.set_ylabel("rank correlation\nof the other logits")
    for (name, (label, colour)), marker in zip(DISTANCES.items(), MARKERS, strict=False):
        distances.plot(table.side, table[name], color=colour, label=label, marker=marker)
    distances.set_ylabel(f"divergence (nats)\nat T = {table.temperature.iloc[0]:g}")
    for ax in (accuracy, shares, distances):
        ax.set_ylim(0, None)
    for ax in (shares, distances):
        top_legend(ax, 1)
    for ax in (relation, distances):
        ax.set_xticks(range(len(table)), labels=[said(side) for side in table.side])
        slant_ticks(ax)
    note = "more and more of the student's blocks →" + state_left_out(table)
    figure.supxlabel(note, fontsize="medium")
    return figure


@LadderTraining.picture("Accuracy and divergence of every side by epoch", panels=True)
def ladder_over_training(table: pd.DataFrame) -> Figure:
    """Accuracy and divergence from the teacher of every side against the epoch."""
    require(table, "epoch", "side", "accuracy", "divergence_teacher", number="divergence_teacher")
    figure, axes = new_panels(1, 2, figsize=(PAGE + 1.5, 3.2))
    side_lines(axes[0], table, "accuracy", 100)
    axes[0].set_ylabel("accuracy (%)")
    side_lines(axes[1], table[table.side != "teacher"], "divergence_teacher", 1)
    axes[1].set_ylabel(f"divergence from the teacher\n(nats) at T = {table.temperature.iloc[0]:g}")
    plain_log(axes[1])  # the first epochs are far above the last ones
    for ax in axes:
        ax.set_xlabel("epoch")
    axes[0].set_xlabel("epoch" + state_left_out(table))
    shared_legend(figure, axes[0], "right upper")
    return figure


def side_lines(
    ax: Axes, table: pd.DataFrame, name: str, factor: int, sides: Sequence[str] = ()
) -> None:
    """Draw a column against the epoch, a line a side; the teacher's is grey.

    Args:
        ax: axes to draw on.
        table: columns epoch, side, and the one to draw.
        name: the column.
        factor: on its values.
        sides: of all axes of the figure, so that a side has one look on them; those of the table
            if none.
    """
    sides = [side for side in dict.fromkeys(sides or table.side) if side != "teacher"]
    colours = ladder_colours(range(len(sides)))
    for side, rows in table.groupby("side", sort=False):
        look = {"color": GREY, "linestyle": "--"}
        if side in sides:
            place = sides.index(side)
            marker = MARKERS[place % len(MARKERS)] if len(rows) <= 40 else None
            look = {"color": colours[place], "marker": marker}
        ax.plot(rows.epoch, factor * rows[name], label=said(side), **look)
    few_ticks(ax.xaxis, 10, integer=True)
