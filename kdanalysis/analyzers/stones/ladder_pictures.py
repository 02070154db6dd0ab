"""A ladder drawn (figure 18): from the teacher over its stepping stones to the student."""

import pandas as pd

from kdanalysis.analyzers.stones.ladder import LadderProfile, LadderTraining, said
from kdanalysis.draw.look import (
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PAGE,
    VERMILION,
    Axes,
    Figure,
    few_ticks,
    ladder_colours,
    new_panels,
    plain_log,
    require,
    shared_legend,
    side_legend,
    state_left_out,
)

SHARES = {
    "accuracy": ("right", BLUE),
    "agreement_teacher": ("says what the teacher says", ORANGE),
    "overlap": ("top-k shared with the teacher", GREEN),
}
DISTANCES = {
    "divergence_teacher": ("from the teacher", VERMILION),
    "divergence_student": ("from the student", GREY),
}
RELATION = "relation"


@LadderProfile.picture("From the teacher over its stones to the student", panels=True)
def ladder_by_stone(table: pd.DataFrame) -> Figure:
    """Shares of samples, divergences and non-top relation for every side, the teacher's first."""
    require(table, "side", *SHARES, *DISTANCES, RELATION, "k", "temperature", number="overlap")
    figure, axes = new_panels(2, 1, figsize=(PAGE, 5.0), sharex=True)
    shares = axes[0]
    for (name, (label, colour)), marker in zip(SHARES.items(), MARKERS, strict=False):
        if table[name].notna().any():
            label = label.replace("top-k", f"top {table.k.iloc[0]}")
            shares.plot(table.side, 100 * table[name], color=colour, label=label, marker=marker)
    if table.relation.notna().any():
        label = "rank correlation of the other logits"
        shares.plot(table.side, 100 * table.relation, color="0.4", label=label, marker="D", ls="--")
    shares.set_ylabel("share of samples (%);\ncorrelation x 100")
    shares.set_ylim(min(0, 100 * table.relation.min()), None)
    for (name, (label, colour)), marker in zip(DISTANCES.items(), MARKERS, strict=False):
        axes[1].plot(table.side, table[name], color=colour, label=label, marker=marker)
    axes[1].set_ylabel(f"divergence (nats)\nat T = {table.temperature.iloc[0]:g}")
    axes[1].set_ylim(0, None)
    axes[1].set_xlabel("more and more of the student's blocks →" + state_left_out(table))
    axes[1].set_xticks(range(len(table)), labels=[said(side) for side in table.side])
    for ax in axes:
        side_legend(ax)
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


def side_lines(ax: Axes, table: pd.DataFrame, name: str, factor: int) -> None:
    """Draw a column against the epoch, a line a side; the teacher's is grey."""
    sides = [side for side in dict.fromkeys(table.side) if side != "teacher"]
    colours = ladder_colours(range(len(sides)))
    for side, rows in table.groupby("side", sort=False):
        look = {"color": GREY, "linestyle": "--"}
        if side in sides:
            place = sides.index(side)
            marker = MARKERS[place % len(MARKERS)] if len(rows) <= 40 else None
            look = {"color": colours[place], "marker": marker}
        ax.plot(rows.epoch, factor * rows[name], label=said(side), **look)
    few_ticks(ax.xaxis, 10, integer=True)
