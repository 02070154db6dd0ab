"""How long the gradient of every loss term is, over training."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.by_step import check_steps, epoch_column, epoch_sums, place_steps
from kdanalysis.analyzers.by_term import label_columns, labels_for, stacked_gradients, term_names
from kdanalysis.core.gram import HasGradients
from kdanalysis.core.streams import Bins

BINS = Bins(-12.0, 6.0, 18 * 64)  # log10 of a norm; quantiles are good to 3.7 percent
QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}


class TermMagnitude(Analyzer):
    """L2 norm of the per-sample gradient in the student logits, by term and captured step.

    The gradients are those of ``loss.gradients``: T^2 and the loss's own weights included, ramp
    1, not divided by the batch size. Give a loss unit weights to see its bare terms, and
    ``KDParts`` to see them as plain KD weighs them.

    The mean is exact. The quartiles come from 64 bins a decade between 1e-12 and 1e6: each is
    within 3.7 percent of the sample's own; a quartile below 1e-12 reads 0, above 1e6 inf.

    Args:
        losses: the losses by a name of your own.
        steps: every captured step; a single one for logits that come from no training.
    """

    def __init__(self, losses: Mapping[str, HasGradients], steps: Sequence[int] = (0,)) -> None:
        names, ordered = term_names(losses), check_steps(steps)
        super().__init__(list(losses.items()), ordered)
        self.losses, self.names, self.steps = dict(losses), names, ordered
        self.also_needed = label_columns(losses)
        self.add_sum("norm", len(ordered), len(names))
        self.add_sum("counts", len(ordered), len(names), BINS.size)
        self.add_sum("epochs", 2, len(ordered))

    def update(
        self,
        student_logits: Float[Tensor, "n c"],
        teacher_logits: Float[Tensor, "n c"],
        target: Int[Tensor, " n"] | None = None,
        step: Int[Tensor, " n"] | None = None,
        epoch: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add one batch, with labels where a loss needs them.

        Raises:
            ValueError: as :meth:`Analyzer.keep`, a step not announced, or labels missing.
        """
        target = labels_for(self.losses, target, student_logits)
        place = place_steps(self.steps, step, target)
        self.accumulate(epochs=epoch_sums(len(self.steps), place, epoch))
        kept = self.keep(teacher_logits, student_logits, target)
        sides = (student_logits[kept].double(), teacher_logits[kept].double(), target[kept])
        norms = stacked_gradients(self.losses, *sides).norm(dim=-1).T  # (n, t)
        # Only the steps of this batch are touched: a batch costs the same in a run of any length.
        touched, place = place[kept].unique(return_inverse=True)
        shape = (len(touched), len(self.names))
        row = place.unsqueeze(-1) * shape[1] + torch.arange(shape[1], device=place.device)
        counts = BINS.counts(norms.log10(), row, shape[0] * shape[1]).view(*shape, BINS.size)
        empty = norms.new_zeros(shape[0] * shape[1])
        norm = empty.index_add(0, row.flatten(), norms.flatten()).view(shape)
        self.norm.index_add_(0, touched, norm)
        self.counts.index_add_(0, touched, counts.to(self.counts))

    def compute(self) -> dict[str, Tensor]:
        """Mean and quartiles of the norm and n by (step, term); epoch by step; non_finite."""
        n = self.counts.sum(-1)
        quartiles = {name: 10 ** BINS.quantile(self.counts, q) for name, q in QUARTILES.items()}
        return {
            "mean": self.norm / n,
            **quartiles,
            "n": n,
            "epoch": self.epochs[0] / self.epochs[1],
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns loss, term, step, epoch, mean, q25, median, q75 (norms), n, non_finite."""
        values = self.compute()
        epoch, non_finite = values.pop("epoch"), int(values.pop("non_finite"))
        index = [(*name, step) for step in self.steps for name in self.names]
        frame = pd.DataFrame(index, columns=["loss", "term", "step"])
        frame = frame.assign(epoch=epoch_column(epoch, len(self.names)))
        return frame.assign(**flat_columns(values), non_finite=non_finite)
