"""The ladder (figure 18): how right each stone is, how near to its teacher and its student."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.evidence import (
    SEEN,
    UNTESTED,
    Interval,
    difference_of_shares,
    weakest,
)
from kdanalysis.analyzers.frames import flat_columns
from kdanalysis.analyzers.noun import Noun, Reading, last_epoch
from kdanalysis.analyzers.student_t import for_all, wide
from kdanalysis.core.association import associations
from kdanalysis.core.divergence import divergence_terms
from kdanalysis.core.streams import check_batch, check_classes, finite_rows
from kdanalysis.core.wording import numeral, percent
from kdanalysis.draw.tables import require

TEACHER = "teacher"
SQUARES = ("step_squares", "nearer_squares")
MEANS = (
    *("agreement_teacher", "agreement_student", "divergence_teacher", "divergence_student"),
    "overlap",
)


class LadderProfile(Analyzer):
    """Every side of a ladder: teacher, stones from the one nearest to it, student.

    - ``accuracy``: share of samples whose largest logit is the label's.
    - ``agreement_teacher``, ``agreement_student``: it is the one that the teacher, the student has.
    - ``divergence_teacher``, ``divergence_student``: KL(teacher || side), KL(student || side) of
      softmax(logits / T), mean over samples, in nats, without T^2.
    - ``overlap``: share of the teacher's k largest logits that are among the side's k largest.
    - ``relation``: Spearman correlation of the side's and the teacher's logits over the classes
      outside the teacher's k largest, mean over the ``related`` samples: those where neither side's
      are all equal.
    - ``step_se``, ``nearer_se``: standard errors of what the divergence from the teacher is more at
      the next side, and at the student, than at this one: of differences sample by sample.

    Args:
        sides: names of the columns of the stacked logits, the student first.
        num_classes: c.
        k: size of the top group; the smaller of 5 and c - 2, and at least 1, if None.
        temperature: T of the divergences.

    Raises:
        ValueError: no sides, k not from 1 to c - 1, or a T that is not above 0.
    """

    noun, title = "ladder", "The ladder of stepping stones"
    of_runs = False
    needs = ("stacked_logits", "teacher_logits")
    takes = ("target",)

    def __init__(
        self,
        sides: Sequence[str],
        num_classes: int,
        k: int | None = None,
        temperature: float | int = 1.0,
    ) -> None:
        k = max(1, min(5, num_classes - 2)) if k is None else k
        if not 1 <= k < num_classes:
            raise ValueError(f"k must be from 1 to {num_classes - 1}, got {k}")
        if not sides:
            raise ValueError("a ladder has the student's side at least, got none")
        classes = {"num_classes": check_classes(num_classes), "k": k}
        super().__init__(sides=(*sides, TEACHER), temperature=temperature, **classes)
        for state in ("right", *MEANS, *SQUARES, "relation", "related"):
            self.add_sum(state, len(self.sides))
        self.add_sum("labelled")
        self.add_sum("n")

    def update(
        self,
        stacked_logits: Float[Tensor, "n c sides"],
        teacher_logits: Float[Tensor, "n c"],
        target: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add one batch.

        Raises:
            ValueError: no samples, or shapes that do not agree with each other or the sides.
        """
        check_batch(teacher_logits, stacked_logits[..., 0], target, self.num_classes)
        if stacked_logits.shape[-1] != len(self.sides) - 1:
            raise ValueError(
                f"the ladder has the sides {', '.join(self.sides[:-1])}, but the logits are of "
                f"{stacked_logits.shape[-1]}"
            )
        kept = finite_rows(teacher_logits, *stacked_logits.unbind(-1))
        labelled = kept.sum() * (target is not None)
        self.accumulate(non_finite=(~kept).sum(), n=kept.sum(), labelled=labelled)
        teacher, stacked = teacher_logits[kept].double(), stacked_logits[kept].double()
        from_teacher = []
        for place, side in enumerate((*stacked.unbind(-1), teacher)):
            found = self._measure(side, teacher, stacked[..., 0])
            from_teacher.append(found["divergence_teacher"])
            if target is not None:
                found["right"] = side.argmax(-1) == target[kept]
            for name, value in found.items():
                getattr(self, name)[place] += value.double().sum()
        away = torch.stack(from_teacher)
        squares = ((away[others] - away).square().sum(-1) for others in self._beside())
        self.accumulate(**dict(zip(SQUARES, squares, strict=True)))

    def _beside(self) -> tuple[list[int], list[int]]:
        """Places of every side's next one, itself for the student, and of the student."""
        last = len(self.sides) - 1  # the teacher; its stones start at 1
        following = [0, *((place % last + 1) % last for place in range(1, last + 1))]
        return following, [0] * len(self.sides)

    def _measure(self, side: Tensor, teacher: Tensor, student: Tensor) -> dict[str, Tensor]:
        log_q, log_p, log_s = (
            (x / self.temperature).log_softmax(-1) for x in (side, teacher, student)
        )
        top = torch.zeros_like(teacher, dtype=torch.bool)
        top.scatter_(-1, teacher.topk(self.k).indices, True)
        (measures,), (defined,) = associations(side, teacher, ~top[None])
        return {
            "agreement_teacher": side.argmax(-1) == teacher.argmax(-1),
            "agreement_student": side.argmax(-1) == student.argmax(-1),
            "divergence_teacher": divergence_terms(log_p, log_q).sum(-1),
            "divergence_student": divergence_terms(log_s, log_q).sum(-1),
            "overlap": top.gather(-1, side.topk(self.k).indices).double().mean(-1),
            "relation": measures[defined, 0],
            "related": defined,
        }

    def measures(self) -> dict[str, Tensor]:
        """The measures by side, the teacher last; counts. NaN where no sample counts."""
        errors = {}
        for name, others in zip(SQUARES, self._beside(), strict=True):
            more = self.divergence_teacher[others] - self.divergence_teacher
            error = deviation(more, getattr(self, name), self.n) / self.n.sqrt()
            error[0] = torch.nan  # the student against itself
            errors[name.replace("squares", "se")] = error
        return {
            "accuracy": self.right / self.labelled,
            **{name: getattr(self, name) / self.n for name in MEANS},
            "relation": self.relation / self.related,
            "related": self.related.clone(),
            **errors,
            "labelled": self.labelled.clone(),
            "n": self.n.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns side, accuracy, agreement_teacher, ..., step_se, nearer_se, k, temperature, ...

        One row a side, from the teacher over its nearest stone to the student; the samples with a
        label, labelled, all of them, n, and non_finite.
        """
        values = self.compute()
        counts = {name: int(values.pop(name)) for name in ("labelled", "n", "non_finite")}
        frame = pd.DataFrame({"side": self.sides, **flat_columns(values)})
        order = [len(frame) - 1, *range(1, len(frame) - 1), 0]
        frame = frame.iloc[order].reset_index(drop=True)
        return frame.assign(k=self.k, temperature=self.temperature, **counts)


class LadderTraining(Noun):
    """The table of ``LadderProfile`` with a column epoch."""

    noun, title = "ladder_training", "The ladder over training"


def said(side: str) -> str:
    """A side's name as it is read: stone 1."""
    return side.replace("_", " ")


@LadderProfile.reads()
@LadderTraining.reads()
def ladder_reading(table: pd.DataFrame) -> Reading:
    """Whether the stones lie between teacher and student, one after the other.

    In the last epoch, where there are several, with 95 % intervals: those of divergences from
    differences sample by sample, that of accuracies as of independent samples. The number is
    accuracy and divergence from the teacher, side by side.
    """
    columns = ("side", "accuracy", "divergence_teacher", "temperature", "n")
    require(table, *columns, number="divergence_teacher")
    rows = last_epoch(table)
    number = "; ".join(
        f"{said(row.side)} "
        + ("" if pd.isna(row.accuracy) else f"{percent(row.accuracy)} right, ")
        + f"{numeral(row.divergence_teacher)} nats from the teacher"
        for row in rows.itertuples()
    )
    stones = rows[rows.side.str.startswith("stone")]
    student = rows[rows.side == "student"].iloc[0]
    if stones.empty:
        return Reading("There are no stones between teacher and student.", number)
    claim = _order(rows[rows.side.isin([*stones.side, "student"])])
    if stones.accuracy.isna().all():
        return Reading(f"{claim}.", number)
    best = stones.loc[stones.accuracy.idxmax()]
    sides = [(row.accuracy, row.get("labelled", row.n)) for row in (best, student)]
    ahead = difference_of_shares(*sides[0], *sides[1]).chosen_of(len(stones))
    told = (
        f"{claim}; that {said(best.side)}, the most accurate stone, is right more often than the "
        f"student {ahead.claim}: {percent(best.accuracy)} against {percent(student.accuracy)}, "
        f"{ahead.points()}{for_all(ahead.half, len(stones), 'stones')}."
    )
    return Reading(told, number)


def _order(path: pd.DataFrame) -> str:
    """Say whether every side of the path is nearer to the teacher than the next one."""
    away = path.divergence_teacher.to_numpy()
    steps = intervals(path, away[1:] - away[:-1], "step_se")
    nearer = intervals(path, away[-1] - away[:-1], "nearer_se")
    least, names = weakest(steps, path.n.min()), [said(side) for side in path.side[:-1]]
    at = f"at T = {path.temperature.iloc[0]:g}"
    if len(names) == 1:
        return (
            f"That the one stone, {names[0]}, is nearer to the teacher than the student "
            f"{least.claim}: by {least.text('.3g', unit=' nats')} {at}"
        )
    told = ", ".join(
        f"{one.text('+.3g')} from {here} to {there}"
        for one, here, there in zip(steps, names, [*names[1:], "the student"], strict=True)
    )
    claim = (
        f"That every stone is nearer to the teacher than the next side {least.claim}: the "
        f"divergence changes by {told} (nats {at})"
    )
    if least.verdict in (SEEN, UNTESTED):
        return claim
    found = [n for n, one in zip(names, nearer, strict=True) if one.verdict == SEEN]
    those = f" ({', '.join(found)})" if found else ""
    return f"{claim}; nearer than the student are {len(found)} of {len(names)}{those}"


def intervals(path: pd.DataFrame, more: np.ndarray, error: str) -> list[Interval]:
    """Differences of divergences along a path, with intervals; half NaN in tables without any."""
    half = wide(path.n.min()) * path.get(error, pd.Series(np.nan, path.index))
    return [Interval(float(m), float(e)) for m, e in zip(more, half[:-1], strict=True)]
