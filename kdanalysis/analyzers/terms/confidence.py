"""How the shares of a loss's terms change with the teacher's confidence."""

from collections.abc import Mapping

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.by_term import term_names
from kdanalysis.analyzers.terms.share import shares
from kdanalysis.core.gram import HasGradients, term_gradients
from kdanalysis.core.streams import Bins, check_temperatures, sum_by_part

BINS = Bins(-14.0, 50.0, 3200)  # log odds of max p: steps of 0.02, from 1e-6 to 1 - 2e-22
DECILES = 10


class ShareByConfidence(Analyzer):
    """Mean share of every term's gradient, by decile of the teacher's confidence max p.

    Shares as in ``TermShare``. Deciles hold equal numbers of samples as far as 3200 bins of width
    0.02 on the log odds log(max p / (1 - max p)) can tell samples apart: a bin goes as a whole to
    the decile of its middle sample. Decile 1 is the least confident tenth.

    Args:
        losses: the losses by a name of your own; ``KDParts`` for plain KD.
        temperature: T > 0 at which max p is read.
    """

    def __init__(self, losses: Mapping[str, HasGradients], temperature: float | int = 1.0) -> None:
        (temperature,) = check_temperatures((temperature,))
        names = term_names(losses)
        super().__init__(list(losses.items()), temperature)
        self.losses, self.names, self.temperature = dict(losses), names, temperature
        self.add_sum("confidence", BINS.size)
        self.add_sum("samples", BINS.size)
        for state in ("share", "count"):
            self.add_sum(state, len(names), BINS.size)

    def update(
        self,
        student_logits: Float[Tensor, "n c"],
        teacher_logits: Float[Tensor, "n c"],
        target: Int[Tensor, " n"],
    ) -> None:
        """Add one batch of logits (n, c) and labels; ValueError as :meth:`Analyzer.keep`."""
        kept = self.keep(teacher_logits, student_logits, target)
        student, teacher = student_logits[kept].double(), teacher_logits[kept].double()
        odds = log_odds(teacher / self.temperature)
        place = BINS.index(odds)
        rows = [odds.sigmoid().unsqueeze(0), torch.ones_like(odds).unsqueeze(0)]
        for loss in self.losses.values():
            share, valid = shares(term_gradients(loss, student, teacher, target[kept]))
            rows += [share, valid.double().expand_as(share)]
        sums = [row.new_zeros(len(row), BINS.size).index_add(1, place, row) for row in rows]
        self.accumulate(
            confidence=sums[0][0],
            samples=sums[1][0],
            share=torch.cat(sums[2::2]),
            count=torch.cat(sums[3::2]),
        )

    def compute(self) -> dict[str, Tensor]:
        """``share`` and ``n`` (term, decile); ``confidence`` (decile), mean max p; NaN if empty."""
        share, count, confidence, samples = (
            sum_by_part(state, self.samples, DECILES)
            for state in (self.share, self.count, self.confidence, self.samples)
        )
        return {
            "share": share / count,
            "n": count,
            "confidence": confidence / samples,
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns loss, term, decile (1 to 10), confidence, share, n, temperature, non_finite.

        ``confidence`` is the mean max p of the decile's samples at ``temperature``.
        """
        values = self.compute()
        index = [(*name, decile) for name in self.names for decile in range(1, DECILES + 1)]
        return pd.DataFrame(index, columns=["loss", "term", "decile"]).assign(
            confidence=values["confidence"].repeat(len(self.names)).tolist(),
            share=values["share"].flatten().tolist(),
            n=values["n"].flatten().long().tolist(),
            temperature=self.temperature,
            non_finite=int(values["non_finite"]),
        )


def log_odds(logits: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Return log(max p / (1 - max p)) in nats, without the rounding of 1 - max p."""
    ranked = logits.sort(-1, descending=True).values
    return ranked[:, 0] - ranked[:, 1:].logsumexp(-1)
