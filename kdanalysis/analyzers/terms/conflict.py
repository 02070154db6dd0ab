"""How often, and how strongly, the gradients of two loss terms disagree."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.by_step import check_steps, epoch_column, epoch_sums, place_steps
from kdanalysis.analyzers.by_term import stacked_gradients, term_labels
from kdanalysis.core.gram import HasGradients

TEACHER = ("right", "wrong", "all")


class GradientConflict(Analyzer):
    """Cosine between the per-sample gradients, in the student logits, of every pair of terms.

    A sample counts as a conflict where the cosine is negative. A pair in which either gradient
    is zero has no direction: it is left out of both the mean and the count. The weights of a loss
    do not matter, as long as they are above 0.

    Args:
        losses: the losses by a name of your own; a term that several of them have is labelled
            ``loss:term``.
        steps: every captured step; a single one for logits that come from no training.
    """

    def __init__(self, losses: Mapping[str, HasGradients], steps: Sequence[int] = (0,)) -> None:
        labels, ordered = term_labels(losses), check_steps(steps)
        if len(labels) < 2:
            raise ValueError(f"need at least two terms to compare, got only {labels}")
        super().__init__(list(losses.items()), ordered)
        self.losses, self.labels, self.steps = dict(losses), labels, ordered
        for state in ("cosine", "conflicts", "count"):
            self.add_sum(state, len(ordered), 2, len(labels), len(labels))
        self.add_sum("epochs", 2, len(ordered))

    def update(
        self,
        student_logits: Float[Tensor, "n c"],
        teacher_logits: Float[Tensor, "n c"],
        target: Int[Tensor, " n"],
        step: Int[Tensor, " n"] | None = None,
        epoch: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add one batch; ValueError as :meth:`Analyzer.keep`, or for a step not announced."""
        place = place_steps(self.steps, step, target)
        self.accumulate(epochs=epoch_sums(len(self.steps), place, epoch))
        kept = self.keep(teacher_logits, student_logits, target)
        sides = (student_logits[kept], teacher_logits[kept], target[kept])
        wrong = teacher_logits[kept].argmax(-1) != target[kept]
        cosine, directed = pair_cosines(stacked_gradients(self.losses, *sides))
        row = 2 * place[kept] + wrong
        values = {"cosine": cosine, "conflicts": (cosine < 0) & directed, "count": directed}
        for name, value in values.items():
            shape = getattr(self, name).shape
            empty = cosine.new_zeros(shape[0] * shape[1], *shape[2:])
            self.accumulate(**{name: empty.index_add(0, row, value.double()).view(shape)})

    def compute(self) -> dict[str, Tensor]:
        """Mean cosine, share of conflicts and n by (step, teacher right/wrong/all, term, term).

        NaN where no sample counts. Beside them epoch by step, and non_finite.
        """
        sums = [
            torch.cat((state, state.sum(1, keepdim=True)), 1)
            for state in (self.cosine, self.conflicts, self.count)
        ]
        return {
            "cosine": sums[0] / sums[2],
            "conflict": sums[1] / sums[2],
            "n": sums[2],
            "epoch": self.epochs[0] / self.epochs[1],
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, teacher, term_a, term_b, cosine, conflict, n, non_finite.

        One row per unordered pair of terms; ``teacher`` tells the samples the teacher gets right,
        wrong, and all.
        """
        a, b = torch.tensor(list(combinations(range(len(self.labels)), 2)), dtype=torch.long).T
        values = self.compute()
        epoch, non_finite = values.pop("epoch"), int(values.pop("non_finite"))
        values = {
            name: value.reshape(len(self.steps), 3, len(self.labels), -1)[..., a, b].flatten()
            for name, value in values.items()
        }
        pairs = list(combinations(self.labels, 2))
        index = [(s, t, *pair) for s in self.steps for t in TEACHER for pair in pairs]
        frame = pd.DataFrame(index, columns=["step", "teacher", "term_a", "term_b"])
        frame.insert(1, "epoch", epoch_column(epoch, 3 * len(pairs)))
        return frame.assign(**flat_columns(values), non_finite=non_finite)


def pair_cosines(
    gradients: Float[Tensor, "t n c"],
) -> tuple[Float[Tensor, "n t t"], Tensor]:
    """Cosines of all pairs per sample, 0 where one has no direction, and where both have one."""
    norms = gradients.norm(dim=-1, keepdim=True)
    unit = gradients / norms.where(norms > 0, 1.0)
    valid = (norms > 0).squeeze(-1).T
    both = valid.unsqueeze(1) & valid.unsqueeze(2)
    return torch.einsum("tnc,snc->nts", unit, unit), both
