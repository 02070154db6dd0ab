"""How good a student is, and how often it says what its teacher says, over training."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.by_step import check_steps, epoch_column, epoch_sums, place_steps


class Agreement(Analyzer):
    """Shares of samples by captured step, of the samples as they were captured.

    - ``agreement``: student and teacher have their largest logit at the same class.
    - ``student_accuracy``, ``teacher_accuracy``: it is the label's class.

    Equal largest logits count as the one of the smallest index. A training's captured batches are
    training images, possibly augmented: these are not validation accuracies.

    Args:
        steps: every captured step; a single one for logits that come from no training.
    """

    needs = ("student_logits", "teacher_logits")
    takes = ("target", "step", "epoch")

    def __init__(self, steps: Sequence[int] = (0,)) -> None:
        ordered = check_steps(steps)
        super().__init__(ordered)
        self.steps = ordered
        for state in ("agreed", "student_right", "teacher_right", "labelled", "n"):
            self.add_sum(state, len(ordered))
        self.add_sum("epochs", 2, len(ordered))

    def update(
        self,
        student_logits: Float[Tensor, "n c"],
        teacher_logits: Float[Tensor, "n c"],
        target: Int[Tensor, " n"] | None = None,
        step: Int[Tensor, " n"] | None = None,
        epoch: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add one batch; ValueError as :meth:`Analyzer.keep`, or for a step not announced."""
        kept = self.keep(teacher_logits, student_logits, target)
        place = place_steps(self.steps, step, kept.long())
        self.accumulate(epochs=epoch_sums(len(self.steps), place, epoch))
        student, teacher = (x[kept].argmax(-1) for x in (student_logits, teacher_logits))
        found = {"n": torch.ones_like(student), "agreed": student == teacher}
        if target is not None:
            label = target[kept]
            found |= {"labelled": found["n"]}
            found |= {"student_right": student == label, "teacher_right": teacher == label}
        for name, value in found.items():
            getattr(self, name).index_add_(0, place[kept], value.double())

    def compute(self) -> dict[str, Tensor]:
        """The three shares, n and the epoch by step; non_finite. NaN where no sample counts."""
        return {
            "agreement": self.agreed / self.n,
            "student_accuracy": self.student_right / self.labelled,
            "teacher_accuracy": self.teacher_right / self.labelled,
            "n": self.n.clone(),
            "epoch": self.epochs[0] / self.epochs[1],
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, agreement, student_accuracy, teacher_accuracy, n, non_finite."""
        values = self.compute()
        epoch, non_finite = values.pop("epoch"), int(values.pop("non_finite"))
        frame = pd.DataFrame({"step": self.steps, "epoch": epoch_column(epoch, 1)})
        return frame.assign(**flat_columns(values), non_finite=non_finite)
