"""Which share of a loss's gradient every term contributes."""

from collections.abc import Mapping

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.by_term import label_columns, labels_for, term_names
from kdanalysis.core.gram import HasGradients, term_gradients


def shares(gradients: Float[Tensor, "t n c"]) -> tuple[Float[Tensor, "t n"], Bool[Tensor, " n"]]:
    """Share of every term per sample, and which samples have one.

        share_t = ||g_t|| / sum_s ||g_s||

    The shares of a sample add up to 1. Norms, not inner products: two terms that pull in opposite
    directions count both. A sample whose gradients are all zero has no share; its entries are 0.
    """
    norms = gradients.double().norm(dim=-1)
    total = norms.sum(0)
    return norms / total.where(total > 0, 1.0), total > 0


class TermShare(Analyzer):
    """Mean over samples of each term's share of its loss's gradient in the student logits.

    The gradients are weighted as the loss weighs them. Plain KD has a single term: give
    ``KDParts``, whose terms are high and P_g times low_g, to see its inside.

    Args:
        losses: the losses by a name of your own.
    """

    def __init__(self, losses: Mapping[str, HasGradients]) -> None:
        names = term_names(losses)
        super().__init__(list(losses.items()))
        self.losses, self.names = dict(losses), names
        self.also_needed = label_columns(losses)
        for state in ("share", "count", "zero"):
            self.add_sum(state, len(names))

    def update(
        self,
        student_logits: Float[Tensor, "n c"],
        teacher_logits: Float[Tensor, "n c"],
        target: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add one batch of logits (n, c), with labels where a loss needs them.

        Raises:
            ValueError: as :meth:`Analyzer.keep`, or labels are missing.
        """
        target = labels_for(self.losses, target, student_logits)
        kept = self.keep(teacher_logits, student_logits, target)
        sides = (student_logits[kept].double(), teacher_logits[kept].double(), target[kept])
        sums = [_share_sums(term_gradients(loss, *sides)) for loss in self.losses.values()]
        share, count, zero = (torch.cat(column) for column in zip(*sums, strict=True))
        self.accumulate(share=share, count=count, zero=zero)

    def compute(self) -> dict[str, Tensor]:
        """``share`` in [0, 1], NaN without samples; the counts n, no_gradient, non_finite."""
        return {
            "share": self.share / self.count,
            "n": self.count.clone(),
            "no_gradient": self.zero.clone(),
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns loss, term, share (mean over samples), n, no_gradient, non_finite."""
        values = self.compute()
        non_finite = int(values.pop("non_finite"))
        frame = pd.DataFrame(self.names, columns=["loss", "term"])
        return frame.assign(**flat_columns(values), non_finite=non_finite)


def _share_sums(gradients: Float[Tensor, "t n c"]) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of the shares, of the samples with and of those without, one entry a term."""
    share, valid = shares(gradients)
    terms = len(share)
    return share.sum(-1), valid.sum().expand(terms), (~valid).sum().expand(terms)
