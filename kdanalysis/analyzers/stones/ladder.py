"""The ladder (figure 18): how right each stone is, how near to its teacher and its student."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.noun import Noun
from kdanalysis.core.association import associations
from kdanalysis.core.divergence import divergence_terms
from kdanalysis.core.streams import check_batch, check_classes, finite_rows

TEACHER = "teacher"
SUMS = ("right", "same_teacher", "same_student", "kl_teacher", "kl_student", "overlap")
SQUARES = ("step_squares", "nearer_squares")
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
        for state in (*SUMS, *SQUARES, "relation", "related"):
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
        from_teacher = []
        for place, side in enumerate((*stacked.unbind(-1), teacher)):
            found = self._measure(side, teacher, stacked[..., 0])
            from_teacher.append(found["kl_teacher"])
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
        """The measures by side, the teacher last; counts. NaN where no sample counts."""
        errors = {}
        for name, others in zip(SQUARES, self._beside(), strict=True):
            more = self.kl_teacher[others] - self.kl_teacher
            error = deviation(more, getattr(self, name), self.n) / self.n.sqrt()
            error[0] = torch.nan  # the student against itself
            errors[name.replace("squares", "se")] = error
        return {
            "accuracy": self.right / self.labelled,
            **{name: getattr(self, state) / self.n for name, state in SHARES.items()},
            "relation": self.relation / self.related,
            "related": self.related.clone(),
            **errors,
            "labelled": self.labelled.clone(),
            "n": self.n.clone(),
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns side, accuracy, agreement_teacher, ..., step_se, nearer_se, k, temperature, ...

        One row a side, from the teacher over its nearest stone to the student; the samples with a
        label, labelled, all of them, n, and non_finite.
        """
        values = self.compute()
        counts = {name: int(values.pop(name)) for name in ("labelled", "n", "non_finite")}
        values["related"] = values["related"].long()
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
