"""Pictures of direction and step (figure 21): which losses pull elsewhere, which only further."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.terms.conflict import conflict_by_teacher
from kdanalysis.analyzers.terms.direction import (
    SAME,
    LossDirection,
    against_first,
    kind_of,
    over_all_steps,
    times,
)
from kdanalysis.draw.look import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PAGE,
    SKY,
    Axes,
    Figure,
    new_panels,
    plain_log,
    require,
    short,
    side_legend,
    state_left_out,
)
from kdanalysis.draw.marks import cosine_map, line_look
from kdanalysis.draw.runs import lines_by_run

KINDS = {
    "scaled": (BLUE, f"same direction (cosine ≥ {SAME:g})"),
    "uneven": (SKY, "same by sample, not over the batch"),
    "turned": (ORANGE, f"another direction (below {SAME:g})"),
}


@LossDirection.picture("Cosines of the losses' gradients, and how far each steps", panels=True)
def direction_or_step(table: pd.DataFrame, teacher: str = "all") -> Figure:
    """Cosines of the losses' gradients beside how many times as far as the first each one steps.

    Cells below the diagonal hold the mean cosine over samples and the share of negative ones, cells
    above it the cosine over the batch. A bar is the ratio of mean norms, the line across it the
    middle half of the samples' own ratios. Colours tell the losses that point where the first one
    does (cosine of at least 0.95) by sample and over the batch, by sample alone, or not.

    Of the samples the teacher gets "right", "wrong", or of "all".
    """
    rows = against_first(table, teacher)
    losses = list(dict.fromkeys([*table.loss_a, *table.loss_b]))
    width = max(2.6, 0.75 * len(losses))
    figure, (cells, bars) = new_panels(
        1, 2, figsize=(4.2 + width, 2.0 + 0.52 * len(losses)),
        width_ratios=(width, 3.0), sharey=True,
    )  # fmt: skip
    _cells(cells, over_all_steps(table).query("teacher == @teacher"), losses)
    _bars(bars, rows)
    samples = "" if teacher == "all" else f", teacher {teacher}"
    cells.set_title(f"{rows.n.max():,} samples{samples}", loc="left")
    bars.set_xlabel(
        f"norm over that of {short(losses[0])}{state_left_out(table)}", parse_math=False
    )
    return figure


@LossDirection.picture("Cosines where the teacher is right, and where it is wrong", panels=True)
def direction_by_teacher(table: pd.DataFrame) -> Figure:
    """Cosines of the losses' gradients on one scale: samples the teacher gets right, and wrong."""
    rows = over_all_steps(table).rename(columns={"loss_a": "term_a", "loss_b": "term_b"})
    return conflict_by_teacher(rows.assign(n=rows.n - rows.no_gradient))


@LossDirection.picture("Direction and step over training", panels=True)
def direction_over_training(table: pd.DataFrame, teacher: str = "all") -> Figure:
    """Two panels over the training step: cosine to the first loss by sample; step multiplier.

    Of the samples the teacher gets "right", "wrong", or of "all".
    """
    require(table, "step", "teacher", "loss_a", "loss_b", "cosine", "multiplier", number="cosine")
    first = short(table.loss_a.iloc[0])
    rows = table[(table.teacher == teacher) & (table.loss_a == table.loss_a.iloc[0])]
    figure, (top, bottom) = new_panels(2, 1, figsize=(PAGE, 4.4), sharex=True)
    for i, (loss, part) in enumerate(rows.dropna(subset="step").groupby("loss_b", sort=False)):
        part = part.sort_values("step")
        look = line_look(i, len(part))
        top.plot(part.step, part.cosine, label=short(loss, 24), **look)
        bottom.plot(part.step, part.multiplier.where(part.multiplier > 0), **look)
    top.axhline(0, color=GREY, linewidth=1, zorder=0)
    bottom.axhline(1, color=GREY, linewidth=1, zorder=0)
    top.set_ylim(-1.03, 1.03)
    plain_log(bottom)
    top.set_ylabel(f"cosine to {first}", parse_math=False)
    bottom.set_ylabel(f"norm over that\nof {first}", parse_math=False)
    bottom.set_xlabel("training step" + state_left_out(table))
    side_legend(top)
    return figure


def _cells(ax: Axes, rows: pd.DataFrame, losses: list[str]) -> None:
    """One row and one column a loss: by sample below the diagonal, over the batch above it."""
    cells, texts = np.full((len(losses),) * 2, np.nan), {}
    for row in rows.itertuples():
        a, b = losses.index(row.loss_a), losses.index(row.loss_b)
        cells[b, a], cells[a, b] = row.cosine, row.cosine_batch
        texts[b, a] = f"{row.cosine:+.2f}\n{100 * row.conflict:.0f} %"
        texts[a, b] = f"{row.cosine_batch:+.2f}"
    texts = {place: text for place, text in texts.items() if not np.isnan(cells[place])}
    names = [short(loss) for loss in losses]
    image = cosine_map(ax, cells, texts, names, names, longest=8)
    label = "cosine by sample (share below 0)\nabove the diagonal: over the batch"
    ax.figure.colorbar(image, ax=ax, location="bottom", aspect=30, label=label)


def _bars(ax: Axes, rows: pd.DataFrame) -> None:
    """One bar a loss from 1 to its multiplier, on a logarithmic axis."""
    from matplotlib.patches import Patch

    for place, row in enumerate(rows.itertuples(), start=1):
        colour = KINDS.get(kind_of(row), (GREY, ""))[0]
        if 0 < row.multiplier < np.inf:
            ax.barh(place, row.multiplier - 1, left=1, height=0.6, color=colour)
            ax.annotate(
                times(row.multiplier),
                (1.0, place),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        ax.plot([row.ratio_q25, row.ratio_q75], [place] * 2, color=INK, linewidth=1.2, marker="|")
    ax.axvline(1, color=GREY, linewidth=1)
    ax.set_xscale("log")
    _ticks(ax)
    ax.tick_params(axis="y", length=0)
    ax.set_title("step multiplier (line: middle half)", loc="left")
    kinds = [kind_of(row) for row in rows.itertuples()]
    handles = [Patch(color=KINDS[k][0], label=KINDS[k][1]) for k in KINDS if k in kinds]
    below = 0.55 / (0.52 * (1 + len(rows)))  # inches over the height of the axes
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.02, -below), frameon=False)


def _ticks(ax: Axes) -> None:
    """At most six of 1, 2, 5 and their tenfolds, written as they are."""
    low, high = ax.get_xlim()
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ladder = [d * 10.0**power for power in range(-12, 13) for d in digits]
        marks = [x for x in ladder if low <= x <= high]
        if len(marks) <= 6:
            break
    ax.set_xticks(marks, labels=[f"{x:g}" for x in marks])
    ax.set_xticks([], minor=True)


def direction_by_run(table: pd.DataFrame) -> Figure:
    """Cosine to the first loss, by sample; of ``LossDirection`` with a column run."""
    rows = _against_first_of_runs(table)
    label = f"mean cosine to {table.loss_a.iloc[0]}"
    return lines_by_run(rows, "cosine", "loss_b", label, limits=(-1.03, 1.03))


def multiplier_by_run(table: pd.DataFrame) -> Figure:
    """Norm over that of the first loss; of ``LossDirection`` with a column run."""
    label = f"norm over that of {table.loss_a.iloc[0]}"
    return lines_by_run(_against_first_of_runs(table), "multiplier", "loss_b", label, log=True)


def _against_first_of_runs(table: pd.DataFrame) -> pd.DataFrame:
    require(table, "run", "step", "teacher", "loss_a", "loss_b", "cosine", "n", number="cosine")
    return table[(table.teacher == "all") & (table.loss_a == table.loss_a.iloc[0])]
