"""Suppression: the factor 1 - p by which plain KD scales what it says of the other classes."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.streams import Bins, check_classes, check_temperatures

BINS = Bins(-50.0, 50.0, 1000)  # log odds of 1 - p: steps of 0.1, from 2e-22 to 1 - 2e-22
CLASSES = ("label", "top")


class Suppression(Analyzer):
    """Histogram and mean of 1 - p at several T, p = softmax(teacher / T) of one class.

    KD weighs its non-target term by 1 - p_label (DKD, equation 6, arXiv 2203.08679; by teacher in
    its tables 11 and 12). Without labels there is 1 - max p, which is the same wherever the teacher
    is right. The bins are equal in the log odds log((1 - p) / p), so that both a sure teacher, near
    0, and an unsure one, near 1, keep their shape.

    Args:
        num_classes: c, at least 2.
        temperatures: every T > 0 to look at.
    """

    needs = ("teacher_logits",)
    takes = ("target",)

    def __init__(self, num_classes: int, temperatures: Sequence[float | int] = (1, 4)) -> None:
        check_classes(num_classes)
        ladder = check_temperatures(temperatures)
        super().__init__(num_classes, ladder)
        self.num_classes, self.temperatures = num_classes, ladder
        self.add_sum("sum", len(CLASSES), len(ladder))
        self.add_sum("counts", len(CLASSES), len(ladder), BINS.size)

    def update(
        self, teacher_logits: Float[Tensor, "n c"], target: Int[Tensor, " n"] | None = None
    ) -> None:
        """Add one batch of logits (n, c), with labels where there are some.

        Raises:
            ValueError: as :meth:`Analyzer.keep`.
        """
        kept = self.keep(teacher_logits, target=target, num_classes=self.num_classes)
        logits = teacher_logits[kept].double()
        chosen = {"top": logits.argmax(-1)}
        if target is not None:
            chosen["label"] = target[kept].long()
        for name, index in chosen.items():
            odds = torch.stack([rest_odds(logits / t, index) for t in self.temperatures])
            rows = torch.arange(len(odds), device=odds.device).unsqueeze(-1).expand_as(odds)
            place = CLASSES.index(name)
            self.sum[place] += odds.sigmoid().sum(-1).to(self.sum)
            self.counts[place] += BINS.counts(odds, rows, len(odds)).to(self.counts)

    def compute(self) -> dict[str, Tensor]:
        """``mean``, ``count`` by bin and ``n``, each by (label or top, temperature); non_finite."""
        n = self.counts.sum(-1)
        return {
            "mean": self.sum / n,
            "count": self.counts.clone(),
            "n": n,
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns of, temperature, low, high, count, share, mean, n, non_finite.

        ``of`` says whose p it is: "label" or "top", the teacher's most probable class. ``low`` and
        ``high`` are the edges of a bin of log((1 - p) / p) in nats, to -inf and inf at the ends;
        ``mean`` is that of 1 - p itself, repeated. Bins without a sample have no row.
        """
        values = {name: value.cpu() for name, value in self.compute().items()}
        row, ladder, place = values["count"].nonzero().unbind(-1)
        inner = torch.linspace(BINS.low, BINS.high, BINS.count + 1, dtype=torch.float64)
        edges = torch.cat([inner.new_tensor([-torch.inf]), inner, inner.new_tensor([torch.inf])])
        found, n = values["count"][row, ladder, place], values["n"][row, ladder]
        return pd.DataFrame(
            {
                "of": [CLASSES[i] for i in row.tolist()],
                "temperature": [self.temperatures[i] for i in ladder.tolist()],
                "low": edges[place].numpy(),
                "high": edges[place + 1].numpy(),
                "count": found.long().numpy(),
                "share": (found / n).numpy(),
                "mean": values["mean"][row, ladder].numpy(),
                "n": n.long().numpy(),
                "non_finite": int(values["non_finite"]),
            }
        )


def rest_odds(logits: Float[Tensor, "n c"], index: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return log((1 - p) / p) of one class a sample in nats, without the rounding of 1 - p."""
    place = index.unsqueeze(-1)
    rest = logits.scatter(-1, place, -torch.inf).logsumexp(-1)
    return rest - logits.gather(-1, place).squeeze(-1)
