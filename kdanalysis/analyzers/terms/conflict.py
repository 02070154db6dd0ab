"""Gradient conflict (figure 19): how often, and how strongly, two terms of losses disagree."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Labels, Logits
from kdanalysis.analyzers.by_step import ByStep, over_samples
from kdanalysis.analyzers.by_term import (
    pair_cosines,
    stacked_gradients,
    term_labels,
    term_names,
)
from kdanalysis.analyzers.evidence import UNTESTED, difference_of_shares
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.gram import HasGradients
from kdanalysis.draw.look import (
    GREY,
    PAGE,
    Axes,
    Figure,
    new_axes,
    new_panels,
    require,
    side_legend,
    state_left_out,
    styled,
)
from kdanalysis.draw.marks import cosine_map, line_look
from kdanalysis.draw.runs import lines_by_run

TEACHER = ("right", "wrong", "all")
BESIDE = 8  # matrices of more terms stand above each other
MOST_PAIRS = 10  # of lines
MOST_PANELS = 9  # of pairs by run
BAR = "mean cosine of the gradients"
PARTS_OF_KD = {"high", "low_top", "low_other", "tckd", "nckd"}


class GradientConflict(ByStep):
    """Cosine between the per-sample gradients, in the student logits, of every pair of terms.

    A sample counts as a conflict where the cosine is negative. A pair in which either gradient
    is zero has no direction: it is left out of both the mean and the count. The weights of a loss
    do not matter, as long as they are above 0.

    Args:
        losses: the losses by a name of your own; a term that several of them have is labelled
            ``loss:term``.
        steps: every captured step; a single one for logits that come from no training.
        trained: names of the losses that were trained, whose terms alone are drawn.
    """

    noun, title = "conflict", "Conflict of the terms"
    needs = ("student_logits", "teacher_logits", "target")

    def __init__(
        self,
        losses: Mapping[str, HasGradients],
        steps: Sequence[int] = (0,),
        trained: Sequence[str] = (),
    ) -> None:
        self.labels = term_labels(losses)
        owners = (loss for loss, _ in term_names(losses))
        self.trained = {t for t, of in zip(self.labels, owners, strict=True) if of in trained}
        if len(self.labels) < 2:
            raise ValueError(f"need at least two terms to compare, got only {self.labels}")
        super().__init__(steps, losses=dict(losses))
        for state in ("cosine", "conflicts", "count"):
            self.add_sum(state, len(self.steps), 2, len(self.labels), len(self.labels))

    @classmethod
    def for_setting(cls, setting: Setting) -> "GradientConflict":
        """Return the analyzer of the bare terms, those that were trained in place of their like."""
        own = {term for loss in setting.trained.values() for term in loss.terms}
        others = {n: one for n, one in setting.bare.items() if not own & set(one.terms)}
        return cls({**others, **setting.trained}, setting.steps, setting.used)

    def add(self, student: Logits, teacher: Logits, target: Labels, place: Labels) -> None:
        """Add the finite samples of a batch, with the places of their steps."""
        wrong = teacher.argmax(-1) != target
        gradients = stacked_gradients(self.losses, student, teacher, target)
        cosine, directed = pair_cosines(gradients)
        conflicts = (cosine < 0) & directed
        self.add_rows(2 * place + wrong, cosine=cosine, conflicts=conflicts, count=directed)

    def compute(self) -> dict[str, Tensor]:
        """Mean cosine, share of conflicts and n by (step, teacher right/wrong/all, pair of terms).

        NaN where no sample counts. Beside them epoch by step, and non_finite.
        """
        a, b = torch.triu_indices(len(self.labels), len(self.labels), 1)
        cosine, conflicts, count = (
            torch.cat((state, state.sum(1, keepdim=True)), 1)[..., a, b]
            for state in (self.cosine, self.conflicts, self.count)
        )
        facts = {"epoch": self.epoch, "non_finite": self.non_finite.clone()}
        return {"cosine": cosine / count, "conflict": conflicts / count, "n": count, **facts}

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, teacher, term_a, term_b, cosine, conflict, n, trained, non_finite.

        One row per unordered pair of terms; ``teacher`` tells the samples the teacher gets right,
        wrong, and all, ``trained`` whether both terms were trained.
        """
        names = [(teacher, *pair) for teacher in TEACHER for pair in combinations(self.labels, 2)]
        frame = self.step_frame(names, ["teacher", "term_a", "term_b"])
        both = frame.term_a.isin(self.trained) & frame.term_b.isin(self.trained)
        frame.insert(len(frame.columns) - 1, "trained", both)
        return frame


@GradientConflict.reads()
def conflict_reading(table: pd.DataFrame) -> Reading:
    """Whether opposed gradients are more frequent where the teacher is wrong; both rates.

    Looks at the pairs of ce with the other terms, or at all pairs where there is no ce; without
    those that are 0 or positive by construction (:func:`is_fixed`). The interval takes samples as
    independent, and the pairs of a sample as one: it is at most too wide for that.
    """
    sides = {teacher: _conflict(table, teacher) for teacher in ("right", "wrong")}
    pairs = "ce and the other terms" if {"ce"} & {*table.term_a, *table.term_b} else "the terms"
    shares = {
        teacher: "none" if np.isnan(rate) else f"{rate:.0%}"
        for teacher, (rate, _, _) in sides.items()
    }
    number = (
        f"{pairs}: {shares['right']} of pairs where the teacher is right, {shares['wrong']} where "
        f"it is wrong"
    )
    (right, n_right, opposed), (wrong, n_wrong, others) = sides["right"], sides["wrong"]
    found = difference_of_shares(wrong, n_wrong, right, n_right)
    told = f"Opposed gradients of {pairs} more frequent where the teacher is wrong: {found.verdict}"
    if found.verdict == UNTESTED:
        why = "the teacher gets no sample wrong, or none right"
        return Reading(f"{told}, as {why}.", number)
    claim = f"{shares['wrong']} there, {shares['right']} where it is right, {found.points()}"
    if opposed + others:
        inside, of_all = opposed / (opposed + others), n_right / (n_right + n_wrong)
        claim += f"; {inside:.0%} of all opposed pairs are where it is right, {of_all:.0%} of the "
        claim += "samples"
    return Reading(f"{told} ({claim}).", number)


def _conflict(table: pd.DataFrame, teacher: str) -> tuple[float, float, float]:
    """Share of opposed pairs, the number of samples, and that of opposed pairs."""
    rows = _with_ce(over_steps(table, teacher))
    fixed = [is_fixed(a, b) for a, b in zip(rows.term_a, rows.term_b, strict=True)]
    rows = rows[~np.array(fixed, dtype=bool)]
    total, opposed = rows.n.sum(), float((rows.conflict * rows.n).sum())
    return (opposed / total if total else np.nan), float(rows.n.max()) if total else 0.0, opposed


def is_fixed(a: str, b: str) -> bool:
    """Whether the cosine of two terms is 0 or hardly ever negative by construction.

    low_top and low_other of one loss share no class: 0. Plain KD is the sum of the parts that DKD
    and GDKD weigh: it lies on their side. Labels as ``term_labels`` gives them.
    """
    (of_a, bare_a), (of_b, bare_b) = ((x.rpartition(":")[0], x.rpartition(":")[2]) for x in (a, b))
    both = {bare_a, bare_b}
    if both == {"low_top", "low_other"}:
        return of_a == of_b
    return "kd" in both and bool(both & PARTS_OF_KD)


def _with_ce(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of ce and another term; all rows where there is no ce."""
    found = (rows.term_a == "ce") | (rows.term_b == "ce")
    return rows[found] if found.any() else rows


def over_steps(table: pd.DataFrame, teacher: str) -> pd.DataFrame:
    """Columns term_a, term_b, cosine, conflict, n over the samples of all steps together."""
    require(table, "teacher", "term_a", "term_b", "cosine", "conflict", "n", number="cosine")
    rows = table[table.teacher == teacher]
    if rows.empty:
        raise ValueError(f"teacher is one of {sorted(set(table.teacher))}, got {teacher!r}")
    return over_samples(rows, ["term_a", "term_b"], ["cosine", "conflict"]).reset_index()


def cosine_matrix(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the mean cosine of every pair and its share of negative ones; rows of ``over_steps``."""
    terms = list(dict.fromkeys([*rows.term_a, *rows.term_b]))
    cells, texts = np.full((len(terms) - 1, len(terms) - 1), np.nan), {}
    for row in rows.itertuples():
        place = terms.index(row.term_b) - 1, terms.index(row.term_a)
        cells[place] = row.cosine
        if row.n > 0:
            texts[place] = f"{row.cosine:+z.2f}\n{100 * row.conflict:.0f} %"
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
    count = f"{rows.n.max():,.0f} samples"
    ax.set_title({"all": count}.get(teacher, f"teacher {teacher}: {count}"), loc="left")
    ax.set_xlabel("cell: mean cosine; share of negative ones" + state_left_out(table))
    if bar:
        ax.figure.colorbar(ax.images[0], ax=ax, label=BAR)
    return ax


@GradientConflict.picture("Cosines where the teacher is right, and where it is wrong", panels=True)
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
    ax.set_xlabel("training step" + state_left_out(table))
    ax.set_ylabel(BAR + samples)
    ax.set_ylim(-1.03, 1.03)
    side_legend(ax)
    return ax


def conflict_by_run(table: pd.DataFrame) -> Figure:
    """Mean cosine of ce with every other term; of ``GradientConflict`` with a column run.

    Where there is no ce: of the nine pairs with the lowest mean cosine.
    """
    require(table, "run", "step", "teacher", "term_a", "term_b", "cosine", "n", number="cosine")
    rows = _with_ce(table[table.teacher == "all"])
    rows = rows.assign(pair=rows.term_a + " / " + rows.term_b)
    if "ce" not in {*rows.term_a, *rows.term_b}:
        lowest = rows.groupby("pair").cosine.mean().nsmallest(MOST_PANELS).index
        rows = rows[rows.pair.isin(lowest)]
    return lines_by_run(rows, "cosine", "pair", "mean cosine", limits=(-1.03, 1.03))
