"""Pictures of direction and step (figure 21): which losses pull elsewhere, which only further."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.ends import with_ends
from kdanalysis.analyzers.terms.conflict_pictures import conflict_by_teacher
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.direction_reading import (
    SAME,
    against_first,
    over_all_steps,
)
from kdanalysis.core.wording import TIMES, counted, numerals, percent, written
from kdanalysis.draw.axes import cosine_limits, round_ticks, time_axis
from kdanalysis.draw.beside import names_beside
from kdanalysis.draw.colours import DASHES, FAINT, GREY, loss_colours
from kdanalysis.draw.look import (
    PAGE,
    Axes,
    Figure,
    new_axes,
    new_panels,
    plain_log,
    side_legend,
    styled,
)
from kdanalysis.draw.marks import cosine_map, line_look
from kdanalysis.draw.names import short
from kdanalysis.draw.runs import lines_by_run
from kdanalysis.draw.tables import require, state_left_out


@LossDirection.picture("Where the losses' gradients point, and how far each steps", panels=True)
def direction_or_step(table: pd.DataFrame, teacher: str = "all") -> Figure:
    """How the losses turn and step against the first, above the cosines of all pairs.

    Above :func:`direction_scatter`. Cells below the diagonal hold the mean cosine over samples and
    the share of negative ones, cells above it the cosine over the batch.

    Of the samples the teacher gets "right", "wrong", or of "all".
    """
    rows = against_first(table, teacher)
    losses = list(dict.fromkeys([*table.loss_a, *table.loss_b]))
    height, above_high = 1.6 + 0.46 * len(losses), max(3.4, 1.2 + 0.2 * len(losses))
    figure, (above, cells) = new_panels(
        2, 1, figsize=(max(PAGE, 2.6 + 0.72 * len(losses)), above_high + height),
        height_ratios=(above_high - 0.2, height),
    )  # fmt: skip
    direction_scatter(table, above, teacher)
    _cells(cells, over_all_steps(table).query("teacher == @teacher"), losses)
    samples = "" if teacher == "all" else f", teacher {teacher}"
    above.set_title(counted(int(rows.n.max()), "sample") + samples, loc="left")
    return figure


@styled
def direction_scatter(table: pd.DataFrame, ax: Axes | None = None, teacher: str = "all") -> Axes:
    """Mean cosine to the first loss against the step, a dot a loss, its name tied to it.

    The step is the ratio of mean norms, the line across a dot the middle half of the samples' own
    ratios. Above the dotted line, a cosine of 0.95, losses point where the first one does.
    """
    rows = against_first(table, teacher)
    losses = list(dict.fromkeys([*table.loss_a, *table.loss_b]))
    colours, first = loss_colours(losses), rows.loss_a.iloc[0]
    ax = ax or new_axes(PAGE, max(3.4, 1.2 + 0.2 * len(losses)))
    drawn = rows[(rows.multiplier > 0) & np.isfinite(rows.multiplier) & rows.cosine.notna()]
    places, names = [(1.0, 1.0)], [first]
    for row in drawn.itertuples():
        look = {"color": colours[row.loss_b], "linewidth": 1.2}
        ax.hlines(row.cosine, row.ratio_q25, row.ratio_q75, **look)
        places.append((row.multiplier, row.cosine))
        names.append(row.loss_b)
    for place, name in zip(places, names, strict=True):
        ax.plot(*place, "o", markersize=8, color=colours[name])
    ax.axhline(SAME, color=GREY, linewidth=1, linestyle=DASHES[2], zorder=0)
    ax.axhline(0, color=FAINT, linewidth=1, zorder=0)
    ax.set_xscale("log")
    span = [x for x in (1, *drawn.multiplier, *drawn.ratio_q25, *drawn.ratio_q75) if 0 < x < np.inf]
    ax.set_xlim(min(span) / 1.4, max(span) * 1.4)
    ax.set_ylim(min(-0.05, drawn.cosine.min() - 0.1) if len(drawn) else -0.05, 1.12)
    round_ticks(ax.xaxis)
    ax.set_ylabel(f"cosine to {short(first)}", parse_math=False)
    ax.set_xlabel(
        f"step: norm over that of {short(first)} (line: middle half){state_left_out(table)}",
        parse_math=False,
    )
    far = numerals(*drawn.multiplier)
    of = zip(drawn.loss_b, far, strict=True)
    labels = {name: short(name, 24, losses) for name in losses}
    texts = [labels[first], *(f"{labels[name]}, {step} {TIMES}" for name, step in of)]
    names_beside(ax, texts, places)
    return ax


@LossDirection.picture(
    "Cosines of the losses' gradients where the teacher is right, and where it is wrong",
    panels=True,
)
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
    rows, colours = rows.dropna(subset="step"), loss_colours([*table.loss_a, *table.loss_b])
    for i, (loss, part) in enumerate(rows.groupby("loss_b", sort=False)):
        part = part.sort_values("step")
        look = line_look(i, len(part)) | {"color": colours[loss]}
        top.plot(part.step, part.cosine, label=short(loss, 24, colours), **look)
        bottom.plot(part.step, part.multiplier.where(part.multiplier > 0), **look)
    top.axhline(0, color=GREY, linewidth=1, zorder=0)
    bottom.axhline(1, color=GREY, linewidth=1, zorder=0)
    top.set_ylim(*cosine_limits(rows.cosine))
    plain_log(bottom)
    top.set_ylabel(f"cosine to {first}", parse_math=False)
    bottom.set_ylabel(f"norm over that\nof {first}", parse_math=False)
    time_axis(bottom, rows.step)
    bottom.set_xlabel("training step" + state_left_out(table))
    side_legend(top)
    return figure


def _cells(ax: Axes, rows: pd.DataFrame, losses: list[str]) -> None:
    """One row and one column a loss: by sample below the diagonal, over the batch above it."""
    cells, texts = np.full((len(losses),) * 2, np.nan), {}
    for row in rows.itertuples():
        a, b = losses.index(row.loss_a), losses.index(row.loss_b)
        cells[b, a], cells[a, b] = row.cosine, row.cosine_batch
        texts[b, a] = f"{written(row.cosine, '+z.2f')}\n{percent(row.conflict, 0)}"
        texts[a, b] = written(row.cosine_batch, "+z.2f")
    texts = {place: text for place, text in texts.items() if not np.isnan(cells[place])}
    names = [short(loss, among=losses) for loss in losses]
    image = cosine_map(ax, cells, texts, names, names, longest=8)
    label = "cosine by sample, and share of negative ones\n(above the diagonal: over the batch)"
    ax.figure.colorbar(image, ax=ax, label=label, location="bottom", aspect=40)


def direction_by_run(table: pd.DataFrame) -> Figure:
    """Cosine to the first loss, by sample; of ``LossDirection`` with a column run."""
    rows = _against_first_of_runs(table)
    rows = with_ends(rows, "cosine", rows.cosine_se) if "cosine_se" in rows else rows
    label = f"mean cosine to {table.loss_a.iloc[0]}"
    return lines_by_run(rows, "cosine", "loss_b", label, limits=cosine_limits(rows.cosine))


def multiplier_by_run(table: pd.DataFrame) -> Figure:
    """Norm over that of the first loss; of ``LossDirection`` with a column run."""
    rows = _against_first_of_runs(table)
    if "multiplier_se" in rows:
        rows = with_ends(rows, "multiplier", rows.multiplier_se, log=True)
    label = f"norm over that of {table.loss_a.iloc[0]}"
    least = 0.9 * min(1.0, rows.multiplier[rows.multiplier > 0].min())
    return lines_by_run(rows, "multiplier", "loss_b", label, log=True, limits=(least, None))


def _against_first_of_runs(table: pd.DataFrame) -> pd.DataFrame:
    require(table, "run", "step", "teacher", "loss_a", "loss_b", "cosine", "n", number="cosine")
    return table[(table.teacher == "all") & (table.loss_a == table.loss_a.iloc[0])]
