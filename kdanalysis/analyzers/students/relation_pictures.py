"""Relations among the non-top logits drawn (figure 12): over training, and by method."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdanalysis.analyzers.ends import with_ends
from kdanalysis.analyzers.evidence import mean_of
from kdanalysis.analyzers.noun import Tables
from kdanalysis.analyzers.students.relation import (
    NonTopRelation,
    at_end,
    pooled,
    shared_notions,
    time_of,
)
from kdanalysis.analyzers.students.seeds import by_seed
from kdanalysis.draw.axes import time_axis
from kdanalysis.draw.colours import (
    BLACK,
    BLUE,
    DASHES,
    GREY,
    MARKERS,
    ORANGE,
    VERMILION,
    loss_colours,
)
from kdanalysis.draw.look import PAGE, Axes, Figure, fine, new_axes, new_panels
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.names import short
from kdanalysis.draw.runs import lines_by_run
from kdanalysis.draw.tables import require, state_left_out

TITLES = {
    "spearman": "Spearman's rank correlation",
    "kendall": "Kendall's tau-b",
    "cosine": "cosine of centred logits",
    "order": "pairs in the same order",
}
COLOURS = (BLUE, VERMILION, ORANGE)
MARGIN = 0.04  # of the scale, so that no marker is cut


@NonTopRelation.picture(
    "How alike student and teacher relate the non-top classes, over training", panels=True
)
def relation_over_training(table: pd.DataFrame) -> Figure:
    """Four panels, a measure each: its mean over training, one line a notion of non-top.

    Bands are 95 % intervals of the mean over samples. Captured steps are put together by epoch
    where there are several epochs. The scale of the pairs in the same order is that of the
    correlations, moved so that chance (a half) stands where 0 does.
    """
    time = time_of(table)
    rows = pooled(table, time)
    figure, axes = _panels(4.8, sharex=True)
    for ax, measure in zip(axes, TITLES, strict=True):
        part = rows[rows.measure == measure]
        for i, (notion, line) in enumerate(part.groupby("notion", sort=False)):
            x, low, high = (line[column].to_numpy(dtype=float) for column in (time, "low", "high"))
            look = {"linestyle": DASHES[i], "marker": MARKERS[i] if len(line) <= 40 else None}
            banded_line(ax, x, line["mean"], low, high, COLOURS[i], 0.2, label=notion, **look)
    _same_scale(axes)
    for ax in axes[::2]:
        ax.set_ylabel("mean over samples")
    for ax in axes[2:]:
        ax.set_xlabel("epoch" if time == "epoch" else "training step")
        time_axis(ax, rows[time], 6)
    _legend(figure, axes[0], table, "band")
    return figure


@NonTopRelation.picture(
    "How alike every student and its teacher relate the classes outside the top ones, at the end",
    of_all=True,
)
def relation_by_method(tables: Tables, ax: Axes | None = None) -> Axes:
    """Kendall's tau-b outside the classes of the last notion that all have: loss by seed.

    A row a loss, a dot a student with the 95 % interval over its samples; of several seeds a bar
    through their mean with its t interval over seeds. Students with steps stand with those of
    their last epoch.
    """
    notion = shared_notions(tables)[-1]
    ends = {name: at_end(table).loc[(notion, "kendall")] for name, table in tables.items()}
    students = by_seed(tables)
    colours = loss_colours(students)
    ax = ax or new_axes(PAGE, 1.2 + 0.34 * len(students))
    for place, (loss, seeds) in enumerate(students.items()):
        rows = [ends[name] for name in seeds.values()]
        means = [row["mean"] for row in rows]
        spread = 0.5 * (np.arange(len(rows)) / max(len(rows) - 1, 1) - 0.5) * (len(rows) > 1)
        half = [row.high - row["mean"] for row in rows]
        look = {"color": colours[loss], "elinewidth": 1.2, "markersize": 5, "label": loss}
        ax.errorbar(means, place + spread, xerr=half, fmt="o", **look)
        whole = mean_of(means)
        if len(rows) > 1:
            ax.plot([whole.value] * 2, [place - 0.36, place + 0.36], color=BLACK, linewidth=2)
            ax.hlines(place, whole.low, whole.high, color=BLACK, linewidth=3.5, alpha=0.35)
    ax.set_yticks(
        range(len(students)), labels=[short(x, 24, students) for x in students], parse_math=False
    )
    ax.set_ylim(len(students) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.8)
    bars = "; black: mean and interval over seeds" if len(students) < len(tables) else ""
    ax.set_xlabel(
        f"tau-b of student and teacher, all but the teacher's {notion}\n"
        f"(dot: student, line: 95 % interval over samples{bars})"
        f"{_left_out(pd.concat(tables.values()))}"
    )
    return ax


def relation_by_run(table: pd.DataFrame) -> Figure:
    """Mean of Kendall's tau-b outside every notion's classes; of ``NonTopRelation`` with a run."""
    require(table, "run", "step", "notion", "measure", "mean", "n")
    rows = table[table.measure == "kendall"]
    rows = rows.assign(left="all but the " + rows.notion)
    rows = with_ends(rows, "mean", rows["std"] / rows.n**0.5)
    return lines_by_run(rows, "mean", "left", "mean of Kendall's tau-b")


def _panels(height: float, **shared: bool) -> tuple[Figure, Sequence[Axes]]:
    figure, grid = new_panels(2, 2, figsize=(PAGE, height), **shared)
    axes = grid.flatten().tolist()
    for ax, title in zip(axes, TITLES.values(), strict=True):
        ax.set_title(title, loc="left")
    return figure, axes


def _same_scale(axes: Sequence[Axes]) -> None:
    """One scale for the three correlations; that of the last panel is half of it, about 1/2."""
    *correlations, order = axes
    limits = [ax.get_ylim() for ax in correlations]
    limits.append(tuple(2 * end - 1 for end in order.get_ylim()))
    low, high = min(pair[0] for pair in limits), max(pair[1] for pair in limits)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    for ax in correlations:
        ax.set_ylim(low, high)
    order.set_ylim((1 + low) / 2, (1 + high) / 2)


def _legend(figure: Figure, ax: Axes, table: pd.DataFrame, spread: str) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles,
        [f"all but the {label}" for label in labels],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title=f"classes compared; {spread}: 95 % interval of the mean{_left_out(table)}",
        title_fontsize=fine(),
    )


def _left_out(table: pd.DataFrame) -> str:
    """How many samples are in no number, or nothing."""
    without = table.groupby(["step", "notion"]).no_relation.max().groupby("notion").sum().max()
    samples = "sample" if without == 1 else "samples"
    text = f"\n({without:,} {samples} without a relation left out)" if without else ""
    return text + state_left_out(table)
