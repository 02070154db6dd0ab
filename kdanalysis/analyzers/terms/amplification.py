"""How much louder a decoupled loss makes a group of classes than plain KD does."""

from collections.abc import Mapping, Sequence
from math import log, log10

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.streams import Bins, check_temperatures

BINS = Bins(-4.0, 36.0, 800)  # log10 of the factor, 20 bins a decade


class Amplification(Analyzer):
    """Histogram of log10(w_g / P_g): the weight of a low term over the one it has in plain KD.

    P_g is the teacher's mass of the group at temperature T. With weight 8 on the non-target
    classes the factor is 20 at a confidence of .6, 80 at .9 and 800 at .99.

    Args:
        losses: decoupled losses (DKD, GDKD, ...) by a name of your own; of each, the partition,
            the weights and the names are used. A term of weight 0 or without a name has no factor.
        temperatures: every T > 0 to look at, in place of the losses' own.

    Raises:
        ValueError: a loss without a partition, such as KD.
    """

    needs = ("teacher_logits", "target")

    def __init__(
        self,
        losses: Mapping[str, object],
        temperatures: Sequence[float | int] = (1, 2, 4, 8),
    ) -> None:
        ladder, parts = check_temperatures(temperatures), _weighted_groups(losses)
        super().__init__(list(losses.items()), ladder)
        self.losses, self.temperatures, self.parts = dict(losses), ladder, parts
        self.add_sum("counts", len(parts), len(ladder), BINS.size)

    def update(self, teacher_logits: Float[Tensor, "n c"], target: Int[Tensor, " n"]) -> None:
        """Add one batch of logits (n, c) and labels; ValueError as :meth:`Analyzer.keep`."""
        kept = self.keep(teacher_logits, target=target)
        teacher = teacher_logits[kept].double()
        groups = {name: loss.partition(teacher, target[kept]) for name, loss in self.losses.items()}
        for row, (loss, _, group, weight) in enumerate(self.parts):
            outside = groups[loss] != group
            for column, temperature in enumerate(self.temperatures):
                log_p = (teacher / temperature).log_softmax(-1)
                log_mass = log_p.masked_fill(outside, -torch.inf).logsumexp(-1)
                place = torch.zeros_like(log_mass, dtype=torch.long)
                counts = BINS.counts(log10(weight) - log_mass / log(10), place, 1)
                self.counts[row, column] += counts.squeeze(0).to(self.counts)

    def compute(self) -> dict[str, Tensor]:
        """``count`` (term, temperature, bin), ``median`` of the factor w_g / P_g, ``n`` samples."""
        return {
            "count": self.counts.clone(),
            "median": 10 ** BINS.quantile(self.counts, 0.5),
            "n": self.counts.sum(-1),
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns loss, term, temperature, low, high, count, share, n, non_finite.

        ``low`` and ``high`` are the edges of a bin of log10(w_g / P_g); the outermost bins reach
        to -inf and inf. Bins without a sample have no row.
        """
        values = self.compute()
        count = values["count"].reshape(self.counts.shape).cpu()
        part, ladder, place = count.nonzero().unbind(-1)
        edges = torch.cat(
            [
                torch.tensor([-torch.inf]),
                torch.linspace(BINS.low, BINS.high, BINS.count + 1, dtype=torch.float64),
                torch.tensor([torch.inf]),
            ]
        )
        found, n = count[part, ladder, place], count.sum(-1)[part, ladder]
        return pd.DataFrame(
            {
                "loss": [self.parts[i][0] for i in part.tolist()],
                "term": [self.parts[i][1] for i in part.tolist()],
                "temperature": [self.temperatures[i] for i in ladder.tolist()],
                "low": edges[place].numpy(),
                "high": edges[place + 1].numpy(),
                "count": found.long().numpy(),
                "share": (found / n).numpy(),
                "n": n.long().numpy(),
                "non_finite": int(values["non_finite"]),
            }
        )


def _weighted_groups(losses: Mapping[str, object]) -> list[tuple[str, str, int, float]]:
    """Return (loss, term, group id, weight) of every low term that has a factor."""
    if not losses:
        raise ValueError("need at least one loss, got none")
    parts = []
    for name, loss in losses.items():
        if not hasattr(loss, "partition"):
            raise ValueError(f"{loss} has no partition: amplification compares group weights")
        low = zip(loss.names[1:], loss.weights[1:], strict=True)
        parts += [(name, term, g, float(w)) for g, (term, w) in enumerate(low) if term and w > 0]
    return parts
