"""Figures of a ladder (figure 18): from the teacher over its stepping stones to the student."""

from itertools import pairwise

import pandas as pd
from matplotlib.ticker import MaxNLocator

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
    ladder_colours,
    new_panels,
    plain_log,
    require,
    side_legend,
    state_left_out,
    styled,
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


@styled
def ladder_by_stone(table: pd.DataFrame) -> Figure:
    """Shares of samples, divergences and non-top relation for every side, the teacher's first.

    Args:
        table: columns side, accuracy, agreement_teacher, overlap, divergence_teacher,
            divergence_student, relation, k, temperature, n, non_finite (``LadderProfile``).
    """
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


@styled
def ladder_over_training(table: pd.DataFrame) -> Figure:
    """Accuracy and divergence from the teacher of every side against the epoch.

    Args:
        table: as for ``ladder_by_stone``, with a column epoch.
    """
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
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
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
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def said(side: str) -> str:
    """A side's name as it is read: stone 1."""
    return side.replace("_", " ")


def ladder_number(table: pd.DataFrame) -> str:
    """Accuracy and divergence from the teacher, side by side."""
    rows = at_the_end(table)
    return "; ".join(
        f"{said(row.side)} "
        + ("" if pd.isna(row.accuracy) else f"{row.accuracy:.1%} right, ")
        + f"{row.divergence_teacher:.3g} nats from the teacher"
        for row in rows.itertuples()
    )


def ladder_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the stones lie between teacher and student, one after the other."""
    rows = at_the_end(table)
    stones = rows[rows.side.str.startswith("stone")]
    student = rows[rows.side == "student"].iloc[0]
    if stones.empty:
        return "There are no stones between teacher and student."
    path = [*stones.divergence_teacher, student.divergence_teacher]
    rises = all(a <= b for a, b in pairwise(path))
    nearer = stones[stones.divergence_teacher < student.divergence_teacher]
    if len(stones) == 1:
        more = "nearer" if len(nearer) else "not nearer"
        only = said(stones.side.iloc[0])
        claim = f"The one stone, {only}, is {more} to the teacher than the student is"
    elif rises:
        claim = "Every stone is nearer to the teacher than the next one, and all than the student"
    elif len(nearer):
        names = ", ".join(said(side) for side in nearer.side)
        claim = (
            f"The stones are no even steps: {len(nearer)} of {len(stones)} ({names}) are nearer to "
            f"the teacher than the student is"
        )
    else:
        claim = "These stones are no steps: none is nearer to the teacher than the student is"
    if stones.accuracy.isna().all():
        return f"{claim}."
    best = stones.loc[stones.accuracy.idxmax()]
    return (
        f"{claim}; the most accurate stone, {said(best.side)}, is right on {best.accuracy:.0%}, "
        f"the student on {student.accuracy:.0%}."
    )


def at_the_end(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last epoch, or all where there are no epochs."""
    require(table, "side", "accuracy", "divergence_teacher", number="divergence_teacher")
    return last_epoch(table)


def last_epoch(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last epoch, or all where there are no epochs."""
    return table[table.epoch == table.epoch.max()] if "epoch" in table else table
