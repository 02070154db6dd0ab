"""Figures of gradient conflict (figure 19): do the terms of a loss pull against each other."""

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    CYCLE,
    DASHES,
    GREY,
    INK,
    PAGE,
    Axes,
    Figure,
    new_axes,
    new_panels,
    require,
    side_legend,
    slant_ticks,
    state_left_out,
    styled,
)

BESIDE = 5  # matrices of more terms stand above each other
MOST_PAIRS = 10


@styled
def conflict_matrix(
    table: pd.DataFrame, ax: Axes | None = None, teacher: str = "all", bar: bool = True
) -> Axes:
    """Mean cosine of every pair of terms over all steps, with the share of samples in conflict.

    Args:
        table: columns teacher, term_a, term_b, cosine, conflict, n, non_finite
            (``GradientConflict``).
        ax: axes to draw on; a new figure when None.
        teacher: the samples the teacher gets "right", "wrong", or "all".
        bar: draw the colour bar.
    """
    rows = over_steps(table, teacher)
    terms = list(dict.fromkeys([*rows.term_a, *rows.term_b]))
    ax = ax or new_axes(1.9 + 0.78 * len(terms), 1.1 + 0.6 * len(terms))
    cells = np.full((len(terms), len(terms)), np.nan)
    for row in rows.itertuples():
        place = terms.index(row.term_b), terms.index(row.term_a)
        cells[place] = row.cosine
        if row.n > 0:
            ink = "white" if abs(row.cosine) > 0.55 else INK
            text = f"{row.cosine:+z.2f}\n{100 * row.conflict:.0f} %"
            ax.text(place[1], place[0], text, ha="center", va="center", fontsize=9, color=ink)
    image = ax.imshow(cells[1:, :-1], cmap="RdBu", vmin=-1, vmax=1, aspect="auto",
                      extent=(-0.5, len(terms) - 1.5, len(terms) - 0.5, 0.5))  # fmt: skip
    ax.set_xticks(range(len(terms) - 1), labels=terms[:-1], parse_math=False)
    if max(map(len, terms[:-1])) > 9:
        slant_ticks(ax)
    ax.set_yticks(range(1, len(terms)), labels=terms[1:], parse_math=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    count = f"{rows.n.max():,.0f} samples"
    ax.set_title({"all": count}.get(teacher, f"teacher {teacher}: {count}"), loc="left")
    ax.set_xlabel("cell: mean cosine; share of negative ones" + state_left_out(table))
    if bar:
        ax.figure.colorbar(image, ax=ax, label="mean cosine of the gradients")
    return ax


@styled
def conflict_by_teacher(table: pd.DataFrame) -> Figure:
    """Two matrices on one colour scale: samples the teacher gets right, and wrong."""
    terms = len(set(table.term_a) | set(table.term_b))
    grid = (1, 2) if terms <= BESIDE else (2, 1)
    size = (1.6 + max(3.0, 0.72 * terms) * grid[1], (1.1 + 0.55 * terms) * grid[0])
    figure, axes = new_panels(*grid, figsize=size, sharex=grid[1] == 1, sharey=grid[0] == 1)
    for ax, teacher in zip(axes, ("right", "wrong"), strict=True):
        conflict_matrix(table, ax, teacher, bar=False)
    figure.colorbar(axes[0].images[0], ax=axes, aspect=30, label="mean cosine of the gradients")
    return figure


@styled
def conflict_over_training(
    table: pd.DataFrame, ax: Axes | None = None, teacher: str = "all"
) -> Axes:
    """Mean cosine of each pair of terms against the training step, with the line of no conflict.

    Of more than 10 pairs the 10 with the lowest mean cosine are drawn; the title says so.

    Args:
        table: columns step, teacher, term_a, term_b, cosine, non_finite (``GradientConflict``).
        ax: axes to draw on; a new figure when None.
        teacher: the samples the teacher gets "right", "wrong", or "all".
    """
    require(table, "step", "teacher", "term_a", "term_b", "cosine", number="cosine")
    ax = ax or new_axes(PAGE, 3.4)
    rows = table[table.teacher == teacher]
    means = rows.groupby(["term_a", "term_b"]).cosine.mean().nsmallest(MOST_PAIRS)
    pairs = rows.groupby(["term_a", "term_b"]).ngroups
    if pairs > MOST_PAIRS:
        rows = rows[[pair in means.index for pair in zip(rows.term_a, rows.term_b, strict=True)]]
        ax.set_title(f"the {MOST_PAIRS} of {pairs} pairs with the lowest mean cosine", loc="left")
    for i, ((a, b), part) in enumerate(rows.groupby(["term_a", "term_b"], sort=False)):
        part = part.sort_values("step")
        ax.plot(
            part.step,
            part.cosine,
            color=CYCLE[i % len(CYCLE)],
            label=f"{a} / {b}",
            linestyle=DASHES[i // len(CYCLE) % len(DASHES)],
            marker="o" if len(part) < 40 else None,
        )
    ax.axhline(0, color=GREY, linewidth=1, zorder=0)
    samples = "" if teacher == "all" else f", teacher {teacher}"
    ax.set_xlabel("training step" + state_left_out(table))
    ax.set_ylabel(f"mean cosine of the gradients{samples}")
    ax.set_ylim(-1.03, 1.03)
    side_legend(ax)
    return ax


def over_steps(table: pd.DataFrame, teacher: str) -> pd.DataFrame:
    """Columns term_a, term_b, cosine, conflict, n over the samples of all steps together."""
    require(table, "teacher", "term_a", "term_b", "cosine", "conflict", "n", number="cosine")
    rows = table[table.teacher == teacher]
    if rows.empty:
        raise ValueError(f"teacher is one of {sorted(set(table.teacher))}, got {teacher!r}")
    sums = rows.assign(
        cosine=(rows.cosine * rows.n).fillna(0), conflict=(rows.conflict * rows.n).fillna(0)
    )
    sums = sums.groupby(["term_a", "term_b"], sort=False)[["cosine", "conflict", "n"]].sum()
    count = sums.n.where(sums.n > 0)
    return sums.assign(cosine=sums.cosine / count, conflict=sums.conflict / count).reset_index()


def conflict_number(table: pd.DataFrame) -> str:
    """Share of conflicts among the pairs looked at, where the teacher is right and wrong."""
    right, wrong = (_conflict(table, teacher) for teacher in ("right", "wrong"))
    return f"{_pairs(table)}: {_percent(right)} of pairs where the teacher is right, " \
        f"{_percent(wrong)} where it is wrong"  # fmt: skip


def conflict_sentence(table: pd.DataFrame) -> str:
    """What to read: whether conflict sits on samples the teacher gets wrong.

    Looks at the pairs of ce with the other terms, or at all pairs where there is no ce.
    """
    right, wrong = (_conflict(table, teacher) for teacher in ("right", "wrong"))
    if np.isnan(right) or np.isnan(wrong):
        return "The teacher gets no sample wrong, or none right: the two cannot be compared."
    claim = f"{_pairs(table)} have opposed gradients in {_percent(wrong)} of the cases where the " \
        f"teacher is wrong and in {_percent(right)} where it is right"  # fmt: skip
    if wrong > right:
        return f"Conflict sits on samples the teacher gets wrong: {claim}."
    return f"These data do not show conflict on the samples the teacher gets wrong: {claim}."


def _conflict(table: pd.DataFrame, teacher: str) -> float:
    rows = over_steps(table, teacher)
    rows = rows[_with_ce(rows)] if _with_ce(rows).any() else rows
    total = rows.n.sum()
    return float((rows.conflict * rows.n).sum() / total) if total else np.nan


def _with_ce(rows: pd.DataFrame) -> pd.Series:
    return (rows.term_a == "ce") | (rows.term_b == "ce")


def _pairs(table: pd.DataFrame) -> str:
    return "ce and the other terms" if _with_ce(table).any() else "the terms"


def _percent(share: float) -> str:
    return "none" if np.isnan(share) else f"{share:.0%}"
