"""Gradient conflict (figure 19): how often, and how strongly, two terms of losses disagree."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Labels, Logits
from kdanalysis.analyzers.by_step import ByStep, deviation, over_samples
from kdanalysis.analyzers.by_term import (
    known_terms,
    pair_cosines,
    stacked_gradients,
    term_labels,
    term_names,
)
from kdanalysis.analyzers.evidence import UNTESTED, difference_of_shares
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.targets import Targets
from kdanalysis.core.gram import HasGradients
from kdanalysis.core.largest import top
from kdanalysis.core.wording import percent
from kdanalysis.draw.tables import require

TEACHER = ("right", "wrong", "all")
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
    takes, mixed = ("step", "epoch", "soft_target"), True

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
        for state in ("cosine", "cosine_square", "conflicts", "count"):
            self.add_sum(state, len(self.steps), len(TEACHER), len(self.labels), len(self.labels))

    @classmethod
    def for_setting(cls, setting: Setting) -> "GradientConflict":
        """Return the analyzer of the bare terms, those that were trained in place of their like."""
        own = {term for loss in setting.trained.values() for term in loss.terms}
        others = {n: one for n, one in setting.bare.items() if not own & set(one.terms)}
        return cls({**others, **setting.trained}, setting.steps, setting.used)

    def add(self, student: Logits, teacher: Logits, targets: Targets, place: Labels) -> None:
        """Add the finite samples of a batch, with the places of their steps."""
        gradients = stacked_gradients(self.losses, student, teacher, targets)
        known = known_terms(self.losses, targets)
        if known is not None:  # what is not known has no direction either
            gradients = gradients.where(known.T.unsqueeze(-1), 0.0)
        cosine, directed = pair_cosines(gradients)
        conflicts = (cosine < 0) & directed
        row = len(TEACHER) * place + judged(teacher, targets)
        sums = {"cosine": cosine, "cosine_square": cosine.square()}
        self.add_rows(row, **sums, conflicts=conflicts, count=directed)

    def measures(self) -> dict[str, Tensor]:
        """Mean cosine with its standard error, share of conflicts and n.

        By (step, teacher right/wrong/all, pair of terms); NaN where no sample counts.
        """
        a, b = torch.triu_indices(len(self.labels), len(self.labels), 1)
        cosine, square, conflicts, count = (
            torch.cat((state[:, :2], state.sum(1, keepdim=True)), 1)[..., a, b]
            for state in (self.cosine, self.cosine_square, self.conflicts, self.count)
        )
        error = deviation(cosine, square, count) / count.sqrt()
        found = {"cosine": cosine / count, "cosine_se": error, "conflict": conflicts / count}
        return found | {"n": count}

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, teacher, term_a, term_b, cosine, cosine_se, conflict, n, ...

        The last are trained and non_finite. One row per unordered pair of terms; ``cosine_se`` is
        the standard error of the mean, samples as independent, ``teacher`` tells the samples the
        teacher gets right, wrong, and all, ``trained`` whether both terms were trained.
        """
        names = [(teacher, *pair) for teacher in TEACHER for pair in combinations(self.labels, 2)]
        frame = self.step_frame(names, ["teacher", "term_a", "term_b"])
        both = frame.term_a.isin(self.trained) & frame.term_b.isin(self.trained)
        frame.insert(len(frame.columns) - 1, "trained", both)
        return frame


def judged(teacher: Logits, targets: Targets) -> Labels:
    """Return the place in ``TEACHER`` of every sample, "all" where no label is there."""
    wrong = (top(teacher) != targets.label).long()
    return wrong.where(targets.labelled, TEACHER.index("all"))


@GradientConflict.reads()
def conflict_reading(table: pd.DataFrame) -> Reading:
    """Whether opposed gradients are more frequent where the teacher is wrong; both rates.

    Looks at the pairs of ce with the other terms, or at all pairs where there is no ce; without
    those that are 0 or positive by construction (:func:`is_fixed`). The interval takes samples as
    independent, and the pairs of a sample as one: it is at most too wide for that.
    """
    sides = {teacher: _conflict(table, teacher) for teacher in ("right", "wrong")}
    pairs = "ce and the other terms" if {"ce"} & {*table.term_a, *table.term_b} else "the terms"
    shares = {teacher: percent(rate) for teacher, (rate, _, _) in sides.items()}
    said = {
        teacher: "no sample" if np.isnan(rate) else f"{shares[teacher]} of pairs"
        for teacher, (rate, _, _) in sides.items()
    }
    number = f"{pairs}: {said['right']} where the teacher is right, {said['wrong']} where not"
    (right, n_right, opposed), (wrong, n_wrong, others) = sides["right"], sides["wrong"]
    found = difference_of_shares(wrong, n_wrong, right, n_right)
    told = f"Opposed gradients of {pairs} more frequent where the teacher is wrong: {found.verdict}"
    if found.verdict == UNTESTED:
        why = "the teacher gets no sample wrong, or none right"
        if not n_right + n_wrong and table.n.any():
            why = "no sample has one label to judge the teacher by"
        return Reading(f"{told}, as {why}.", number)
    claim = f"{shares['wrong']} there, {shares['right']} where it is right, {found.points()}"
    if opposed + others:
        inside, of_all = opposed / (opposed + others), n_right / (n_right + n_wrong)
        claim += (
            f"; {percent(inside)} of all opposed pairs are where it is right, "
            f"{percent(of_all)} of the samples"
        )
    return Reading(f"{told} ({claim}).", number)


def _conflict(table: pd.DataFrame, teacher: str) -> tuple[float, float, float]:
    """Share of opposed pairs, the number of samples, and that of opposed pairs."""
    rows = with_ce(over_steps(table, teacher))
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


def with_ce(rows: pd.DataFrame) -> pd.DataFrame:
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
