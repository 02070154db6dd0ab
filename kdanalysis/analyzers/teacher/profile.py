"""Class profiles: the teacher's mean probability for every class, given the true one."""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.streams import check_classes, check_temperatures


class ClassProfile(Analyzer):
    """Mean of softmax(teacher / T) over the samples of every true class, shape (c, c).

    A class's row shows which other classes its images resemble to the teacher: its modes.

    Args:
        num_classes: c, at least 2; the state holds c * c numbers.
        temperature: T > 0.
    """

    needs = ("teacher_logits", "target")

    def __init__(self, num_classes: int, temperature: float | int = 4.0) -> None:
        check_classes(num_classes)
        (temperature,) = check_temperatures((temperature,))
        super().__init__(num_classes, temperature)
        self.num_classes, self.temperature = num_classes, temperature
        self.add_sum("probability", num_classes, num_classes)
        self.add_sum("count", num_classes)

    def update(self, teacher_logits: Float[Tensor, "n c"], target: Int[Tensor, " n"]) -> None:
        """Add one batch of logits (n, c) and labels; ValueError as :meth:`Analyzer.keep`."""
        kept = self.keep(teacher_logits, target=target, num_classes=self.num_classes)
        p = (teacher_logits[kept].double() / self.temperature).softmax(-1)
        label = target[kept].long()
        empty = torch.zeros_like(self.probability, device=p.device)
        self.accumulate(
            probability=empty.index_add(0, label, p),
            count=label.bincount(minlength=self.num_classes),
        )

    def compute(self) -> dict[str, Tensor]:
        """``probability`` (true class, class), NaN for a class without samples; ``n`` of each."""
        return {
            "probability": self.probability / self.count.unsqueeze(-1),
            "n": self.count.clone(),
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns target, class, probability, rank (1 is the most probable), n, non_finite, T.

        One row per pair of classes (c * c rows), ``n`` is the number of samples of the target;
        probability and rank are NaN for a target without samples. T is named ``temperature``.
        """
        values = self.compute()
        profile = values["probability"]
        rank = profile.argsort(dim=-1, descending=True, stable=True).argsort(-1).double() + 1
        rank = rank.masked_fill(profile.isnan(), torch.nan)
        target = torch.arange(self.num_classes).repeat_interleave(self.num_classes)
        return pd.DataFrame(
            {
                "target": target.numpy(),
                "class": torch.arange(self.num_classes).repeat(self.num_classes).numpy(),
                "probability": profile.flatten().cpu().numpy(),
                "rank": rank.flatten().cpu().numpy(),
                "n": values["n"].cpu().long()[target].numpy(),
                "non_finite": int(values["non_finite"]),
                "temperature": self.temperature,
            }
        )
