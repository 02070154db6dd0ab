"""The ladder (figure 18): how right each stone is, how near to its teacher and its student."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.noun import Noun, Reading, last_epoch
from kdanalysis.core.association import associations
from kdanalysis.core.divergence import divergence_terms
from kdanalysis.core.streams import check_batch, check_classes, finite_rows
from kdanalysis.draw.look import require

TEACHER = "teacher"
SUMS = ("right", "same_teacher", "same_student", "kl_teacher", "kl_student", "overlap")
SHARES = {
    "agreement_teacher": "same_teacher",
    "agreement_student": "same_student",
    "divergence_teacher": "kl_teacher",
    "divergence_student": "kl_student",
    "overlap": "overlap",
}


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
        for state in (*SUMS, "relation", "related"):
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
        self.accumulate(non_finite=(~kept).sum(), n=kept.sum())
        teacher, stacked = teacher_logits[kept].double(), stacked_logits[kept].double()
        if target is not None:
            self.accumulate(labelled=kept.sum())
        for place, side in enumerate((*stacked.unbind(-1), teacher)):
            found = self._measure(side, teacher, stacked[..., 0])
            if target is not None:
                found["right"] = side.argmax(-1) == target[kept]
            for name, value in found.items():
                getattr(self, name)[place] += value.double().sum()

    def _measure(self, side: Tensor, teacher: Tensor, student: Tensor) -> dict[str, Tensor]:
        log_q, log_p, log_s = (
            (x / self.temperature).log_softmax(-1) for x in (side, teacher, student)
        )
        top = torch.zeros_like(teacher, dtype=torch.bool)
        top.scatter_(-1, teacher.topk(self.k).indices, True)
        rest = [x[~top].view(len(x), -1) for x in (side, teacher)]
        measures, defined = associations(*rest)
        return {
            "same_teacher": side.argmax(-1) == teacher.argmax(-1),
            "same_student": side.argmax(-1) == student.argmax(-1),
            "kl_teacher": divergence_terms(log_p, log_q).sum(-1),
            "kl_student": divergence_terms(log_s, log_q).sum(-1),
            "overlap": top.gather(-1, side.topk(self.k).indices).double().mean(-1),
            "relation": measures[defined, 0],
            "related": defined,
        }

    def compute(self) -> dict[str, Tensor]:
        """The measures by side, the teacher last; n and non_finite. NaN where no sample counts."""
        return {
            "accuracy": self.right / self.labelled,
            **{name: getattr(self, state) / self.n for name, state in SHARES.items()},
            "relation": self.relation / self.related,
            "related": self.related.clone(),
            "n": self.n.clone(),
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns side, accuracy, agreement_teacher, ..., relation, related, k, temperature, n.

        One row a side, from the teacher over its nearest stone to the student; and non_finite.
        """
        values = self.compute()
        counts = {name: int(values.pop(name)) for name in ("n", "non_finite")}
        values["related"] = values["related"].long()
        frame = pd.DataFrame({"side": self.sides, **flat_columns(values)})
        order = [len(frame) - 1, *range(1, len(frame) - 1), 0]
        frame = frame.iloc[order].reset_index(drop=True)
        return frame.assign(k=self.k, temperature=self.temperature, **counts)


class LadderTraining(Noun):
    """The table of ``LadderProfile`` with a column epoch."""

    noun, title = "ladder_training", "The ladder over training"


@LadderProfile.reads()
@LadderTraining.reads()
def ladder_reading(table: pd.DataFrame) -> Reading:
    """Whether the stones lie between teacher and student, one after the other.

    In the last epoch, where there are several; the number is accuracy and divergence from the
    teacher, side by side.
    """
    require(table, "side", "accuracy", "divergence_teacher", number="divergence_teacher")
    rows = last_epoch(table)
    number = "; ".join(
        f"{said(row.side)} "
        + ("" if pd.isna(row.accuracy) else f"{row.accuracy:.1%} right, ")
        + f"{row.divergence_teacher:.3g} nats from the teacher"
        for row in rows.itertuples()
    )
    stones = rows[rows.side.str.startswith("stone")]
    student = rows[rows.side == "student"].iloc[0]
    if stones.empty:
        return Reading("There are no stones between teacher and student.", number)
    claim = _order(stones, student)
    if stones.accuracy.isna().all():
        return Reading(f"{claim}.", number)
    best = stones.loc[stones.accuracy.idxmax()]
    told = (
        f"{claim}; the most accurate stone, {said(best.side)}, is right on {best.accuracy:.0%}, "
        f"the student on {student.accuracy:.0%}."
    )
    return Reading(told, number)


def _order(stones: pd.DataFrame, student: pd.Series) -> str:
    path = [*stones.divergence_teacher, student.divergence_teacher]
    nearer = stones[stones.divergence_teacher < student.divergence_teacher]
    if len(stones) == 1:
        more = "nearer" if len(nearer) else "not nearer"
        only = said(stones.side.iloc[0])
        return f"The one stone, {only}, is {more} to the teacher than the student is"
    if all(a <= b for a, b in pairwise(path)):
        return "Every stone is nearer to the teacher than the next one, and all than the student"
    if nearer.empty:
        return "These stones are no steps: none is nearer to the teacher than the student is"
    names = ", ".join(said(side) for side in nearer.side)
    return (
        f"The stones are no even steps: {len(nearer)} of {len(stones)} ({names}) are nearer to "
        f"the teacher than the student is"
    )


def said(side: str) -> str:
    """A side's name as it is read: stone 1."""
    return side.replace("_", " ")
