"""Modality: how many classes the auto-k rule counts as the teacher's top group, by true class."""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.partition import AutoK
from kdanalysis.core.streams import check_classes


class Modality(Analyzer):
    """Distribution, for every true class, of the k that auto-k chooses per sample.

    Args:
        num_classes: c, at least 2; the state holds c * c numbers.
        rule: GDKD's auto-k with its ratio, cap and temperature.
    """

    needs = ("teacher_logits", "target")

    def __init__(self, num_classes: int, rule: AutoK | None = None) -> None:
        check_classes(num_classes)
        rule = rule or AutoK()
        super().__init__(num_classes, rule)
        self.num_classes, self.rule = num_classes, rule
        self.add_sum("count", num_classes, num_classes)

    def update(self, teacher_logits: Float[Tensor, "n c"], target: Int[Tensor, " n"]) -> None:
        """Add one batch of logits (n, c) and labels; ValueError as :meth:`Analyzer.keep`."""
        kept = self.keep(teacher_logits, target=target, num_classes=self.num_classes)
        k = self.rule.sizes(teacher_logits[kept])
        pair = target[kept].long() * self.num_classes + k
        count = pair.bincount(minlength=self.num_classes**2)
        self.accumulate(count=count.view(self.num_classes, self.num_classes))

    def compute(self) -> dict[str, Tensor]:
        """``count`` (true class, k) for k from 0, which never occurs; ``mean`` k; ``n`` samples."""
        n = self.count.sum(-1)
        k = torch.arange(self.num_classes, dtype=n.dtype, device=n.device)
        return {
            "count": self.count.clone(),
            "mean": (self.count * k).sum(-1) / n,
            "n": n,
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns target, k, count, share (of the class's samples), n, temperature, non_finite.

        A k that no sample of the class chose has no row.
        """
        values = self.compute()
        count, n = values["count"].cpu(), values["n"].cpu()
        target, k = count.nonzero().unbind(-1)
        return pd.DataFrame(
            {
                "target": target.numpy(),
                "k": k.numpy(),
                "count": count[target, k].long().numpy(),
                "share": (count[target, k] / n[target]).numpy(),
                "n": n[target].long().numpy(),
                "temperature": self.rule.temperature,
                "non_finite": int(values["non_finite"]),
            }
        )
