"""Pictures of conflict (figure 19): matrices of cosines, and their course over training."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.ends import with_ends
from kdanalysis.analyzers.terms.conflict import GradientConflict, over_steps, with_ce
from kdanalysis.core.wording import counted, percent, written
from kdanalysis.draw.axes import cosine_limits, time_axis
from kdanalysis.draw.colours import GREY
from kdanalysis.draw.look import PAGE, Axes, Figure, new_axes, new_panels, side_legend, styled
from kdanalysis.draw.marks import cosine_map, line_look
from kdanalysis.draw.runs import lines_by_run
from kdanalysis.draw.tables import require, state_left_out

BESIDE = 8  # matrices of more terms stand above each other


MOST_PAIRS = 10  # of lines


MOST_PANELS = 9  # of pairs by run


BAR = "mean cosine of the gradients"


def cosine_matrix(ax: Axes, rows: pd.DataFrame, apart: bool = True) -> None:
    """Draw the mean cosine of every pair and its share of negative ones; rows of ``over_steps``.

    In the logits, where low_top and low_other lie apart, they share no class.
    """
    terms = list(dict.fromkeys([*rows.term_a, *rows.term_b]))
    cells, texts = np.full((len(terms) - 1, len(terms) - 1), np.nan), {}
    for row in rows.itertuples():
        place = terms.index(row.term_b) - 1, terms.index(row.term_a)
        cells[place] = row.cosine
        if row.n > 0:
            texts[place] = f"{written(row.cosine, '+z.2f')}\n{percent(row.conflict, 0)}"
            if apart and {row.term_a, row.term_b} == {"low_top", "low_other"}:
                texts[place] = "always 0"
    cosine_map(ax, cells, texts, terms[1:], terms[:-1])


def of_training(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the pairs of terms that were trained; all where none is known to be."""
    known = "trained" in table and table.trained.any()
    return table[table.trained] if known else table


@styled
def conflict_matrix(
    table: pd.DataFrame, ax: Axes | None = None, teacher: str = "all", bar: bool = True
) -> Axes:
    """Mean cosine of every pair of terms over all steps, with the share of samples in conflict.

    Args:
        table: as ``GradientConflict.table`` gives it.
        ax: axes to draw on; a new figure when None.
        teacher: the samples the teacher gets "right", "wrong", or "all".
        bar: draw the colour bar.
    """
    rows = over_steps(table, teacher)
    terms = len(set(rows.term_a) | set(rows.term_b))
    ax = ax or new_axes(1.9 + 0.78 * terms, 1.1 + 0.6 * terms)
    cosine_matrix(ax, rows)
    count = counted(int(rows.n.max()), "sample")
    ax.set_title({"all": count}.get(teacher, f"teacher {teacher}: {count}"), loc="left")
    ax.set_xlabel("cell: mean cosine; share of negative ones" + state_left_out(table))
    if bar:
        ax.figure.colorbar(ax.images[0], ax=ax, label=BAR)
    return ax


@GradientConflict.picture(
    "Cosines of the terms' gradients where the teacher is right, and where it is wrong",
    panels=True,
)
def conflict_by_teacher(table: pd.DataFrame) -> Figure:
    """Matrices on one colour scale: samples the teacher gets right, and wrong, if there are any.

    Of a training the terms that were trained, where there are several; of other logits all.
    """
    table = of_training(table)
    terms = len(set(table.term_a) | set(table.term_b))
    both = ["right", "wrong"]
    sides = [side for side in both if table.n[table.teacher == side].any()] or both
    grid = (1, len(sides)) if terms <= BESIDE else (len(sides), 1)
    size = (1.6 + max(2.4, 0.66 * (terms - 1)) * grid[1], (1.1 + 0.5 * (terms - 1)) * grid[0])
    figure, axes = new_panels(*grid, figsize=size, sharex="col", sharey="row", squeeze=False)
    for ax, teacher in zip(axes.flat, sides, strict=True):
        conflict_matrix(table, ax, teacher, bar=False)
        ax.set_xlabel("")
    note = "cell: mean cosine; share of negative ones" + state_left_out(table)
    figure.supxlabel(note, fontsize="medium")
    figure.colorbar(axes[0, 0].images[0], ax=axes, aspect=30, label=BAR)
    return figure


@GradientConflict.picture("Cosine of every pair of terms over training")
def conflict_over_training(
    table: pd.DataFrame, ax: Axes | None = None, teacher: str = "all"
) -> Axes:
    """Mean cosine of each pair of terms against the training step, with the line of no conflict.

    Of a training the terms that were trained, where there are several. Of more than 10 pairs the
    10 with the lowest mean cosine are drawn; the title says so.
    """
    require(table, "step", "teacher", "term_a", "term_b", "cosine", number="cosine")
    ax = ax or new_axes(PAGE, 3.4)
    rows = of_training(table)
    rows = rows[rows.teacher == teacher]
    pairs = rows.groupby(["term_a", "term_b"])
    if pairs.ngroups > MOST_PAIRS:
        lowest = pairs.cosine.mean().nsmallest(MOST_PAIRS).index
        rows = rows[[pair in lowest for pair in zip(rows.term_a, rows.term_b, strict=True)]]
        ax.set_title(
            f"the {MOST_PAIRS} of {pairs.ngroups} pairs with the lowest mean cosine", loc="left"
        )
    for i, ((a, b), part) in enumerate(rows.groupby(["term_a", "term_b"], sort=False)):
        part = part.sort_values("step")
        ax.plot(part.step, part.cosine, label=f"{a} / {b}", **line_look(i, len(part)))
    ax.axhline(0, color=GREY, linewidth=1, zorder=0)
    samples = "" if teacher == "all" else f", teacher {teacher}"
    time_axis(ax, rows.step)
    ax.set_xlabel("training step" + state_left_out(table))
    ax.set_ylabel(BAR + samples)
    ax.set_ylim(*cosine_limits(rows.cosine))
    side_legend(ax)
    return ax


def conflict_by_run(table: pd.DataFrame) -> Figure:
    """Mean cosine of ce with every other term; of ``GradientConflict`` with a column run.

    Where there is no ce: of the nine pairs with the lowest mean cosine.
    """
    require(table, "run", "step", "teacher", "term_a", "term_b", "cosine", "n", number="cosine")
    rows = with_ce(table[table.teacher == "all"])
    rows = rows.assign(pair=rows.term_a + " / " + rows.term_b)
    if "ce" not in {*rows.term_a, *rows.term_b}:
        lowest = rows.groupby("pair").cosine.mean().nsmallest(MOST_PANELS).index
        rows = rows[rows.pair.isin(lowest)]
    rows = with_ends(rows, "cosine", rows.cosine_se) if "cosine_se" in rows else rows
    return lines_by_run(rows, "cosine", "pair", BAR, limits=cosine_limits(rows.cosine))
