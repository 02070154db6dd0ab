"""Top-k mass: how much of the teacher's probability the k most probable classes hold."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.core.streams import Bins, check_classes, check_temperatures

BINS = Bins(0.0, 1.0, 500)  # quantiles of a mass are good to 0.002


class TopKMass(Analyzer):
    """Sum of the k largest softmax(teacher / T), for every k from 1 to c and every T.

    The mean is exact. The quartiles come from 500 bins on [0, 1]: each is within 0.002 of the
    sample's own.

    Args:
        num_classes: c, at least 2.
        temperatures: every T > 0 to look at.
    """

    def __init__(self, num_classes: int, temperatures: Sequence[float | int] = (1, 2, 4, 8)):
        check_classes(num_classes)
        ladder = check_temperatures(temperatures)
        super().__init__(num_classes, ladder)
        self.num_classes, self.temperatures = num_classes, ladder
        self.add_sum("mass", len(ladder), num_classes)
        self.add_sum("counts", len(ladder), num_classes, BINS.size)

    def update(self, teacher_logits: Float[Tensor, "n c"]) -> None:
        """Add one batch of logits (n, c); raises ValueError as :meth:`Analyzer.keep`."""
        kept = self.keep(teacher_logits, num_classes=self.num_classes)
        ranked = teacher_logits[kept].double().sort(-1, descending=True).values
        ranks = torch.arange(self.num_classes, device=ranked.device).expand_as(ranked)
        # Rounding may lift a full mass a little over 1, where it would leave the last bin.
        masses = [(ranked / t).softmax(-1).cumsum(-1).clamp(max=1) for t in self.temperatures]
        self.accumulate(
            mass=torch.stack([mass.sum(0) for mass in masses]),
            counts=torch.stack([BINS.counts(mass, ranks, self.num_classes) for mass in masses]),
        )

    def compute(self) -> dict[str, Tensor]:
        """Mean and quartiles of the mass, and the samples n, by (temperature, k); non_finite."""
        n = self.counts.sum(-1)
        quartiles = {name: BINS.quantile(self.counts, q) for name, q in QUARTILES.items()}
        return {"mean": self.mass / n, **quartiles, "n": n, "non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """Columns temperature, k, mean, q25, median, q75 (masses in [0, 1]), n, non_finite."""
        values = self.compute()
        non_finite = int(values.pop("non_finite"))
        index = [(t, k) for t in self.temperatures for k in range(1, self.num_classes + 1)]
        frame = pd.DataFrame(index, columns=["temperature", "k"]).assign(**flat_columns(values))
        return frame.assign(non_finite=non_finite)


QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}
