"""How the sweep's quantities spread over samples: quartiles, and groups of teacher confidence."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.sweep.sweep import check_ks, check_weights, chunks
from kdanalysis.core.streams import Bins, check_classes, check_temperatures
from kdanalysis.core.sweep.algebra import DEFINED, PLAIN
from kdanalysis.core.sweep.order import rank
from kdanalysis.core.sweep.sums import of_every_sample

NORMS = ("norm_high", "norm_low_top", "norm_low_other", "norm_kd", "norm_total")
PARTS = ("cosine_total_kd", "share_low_other", "kd_share_low_other")
LOG_BINS = Bins(-12.0, 6.0, 18 * 64)  # log10 of a norm; quartiles are good to 3.7 percent
BINS = Bins(-1.0, 1.0, LOG_BINS.count)  # quartiles are good to 0.002
QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}


class SweepSpread(Analyzer):
    """Mean and quartiles over samples of norms, cosine and shares, by T, k and confidence.

    The quantities are those of ``TermSweep``. The groups are of the teacher's max p at T = 1, cut
    at ``edges``; the last row of each is all samples together. A sample without a quantity (a
    gradient of zero has no direction) is left out of it. Means are exact. The quartiles come from
    1152 bins, 64 a decade between 1e-12 and 1e6 for norms (a quartile below reads 0, above inf),
    0.002 wide for cosines and shares.

    Args:
        num_classes: c, at least 2.
        temperatures: every T > 0.
        ks: "all" for 1 to c - 1, or the k to look at; memory grows with their number.
        weights: of high, low_top and low_other, as in GDKD.
        edges: ascending confidences in (0, 1) between the groups.
    """

    def __init__(
        self,
        num_classes: int,
        temperatures: Sequence[float | int] = (1, 2, 4, 8),
        ks: str | Sequence[int] = "all",
        weights: Sequence[float | int] = (1.0, 1.0, 8.0),
        edges: Sequence[float] = (0.5, 0.9, 0.99),
    ) -> None:
        check_classes(num_classes)
        ladder, ks = check_temperatures(temperatures), check_ks(ks, num_classes)
        weights, edges = check_weights(weights), check_edges(edges)
        super().__init__(num_classes, ladder, ks, weights, edges)
        self.num_classes, self.temperatures, self.ks = num_classes, ladder, ks
        self.weights, self.edges = weights, edges
        shape = len(ladder), len(NORMS) + len(PARTS), len(ks), len(edges) + 1
        self.add_sum("sums", *shape)
        self.add_sum("counts", *shape, BINS.size)

    def update(
        self, student_logits: Float[Tensor, "n c"], teacher_logits: Float[Tensor, "n c"]
    ) -> None:
        """Add one batch of logits (n, c); raises ValueError as :meth:`Analyzer.keep`."""
        kept = self.keep(teacher_logits, student_logits, num_classes=self.num_classes)
        for student, teacher in chunks(student_logits[kept], teacher_logits[kept]):
            confidence = teacher.double().softmax(-1).amax(-1)
            edges = torch.tensor(self.edges, dtype=torch.float64, device=teacher.device)
            group = torch.bucketize(confidence, edges, right=True)
            ranked = rank(student, teacher)
            ks = torch.tensor(self.ks, device=teacher.device)
            for row, temperature in enumerate(self.temperatures):
                each = of_every_sample(ranked, temperature, ks, self.weights)
                self._count(row, each, group)

    def _count(self, row: int, each: Float[Tensor, "s k n"], group: Int[Tensor, " n"]) -> None:
        """Add the samples' statistics at one temperature."""
        names, sizes = (*PLAIN, *DEFINED), (len(self.ks), len(self.edges) + 1)
        place = group + sizes[1] * torch.arange(sizes[0], device=group.device).unsqueeze(1)
        for quantity, name in enumerate((*NORMS, *PARTS)):
            values = each[names.index(name)]
            there = ~values.isnan()
            rows, values = place[there], values[there]
            bins, scaled = (LOG_BINS, values.log10()) if name in NORMS else (BINS, values)
            counts = bins.counts(scaled, rows, sizes[0] * sizes[1])
            sums = values.new_zeros(sizes[0] * sizes[1]).index_add(0, rows, values)
            self.counts[row, quantity] += counts.view(*sizes, -1).to(self.counts)
            self.sums[row, quantity] += sums.view(sizes).to(self.sums)

    def compute(self) -> dict[str, Tensor]:
        """``mean``, quartiles, ``n`` by (T, quantity, k, group), all samples last; non_finite."""
        sums, counts = (
            torch.cat((state, state.sum(3, keepdim=True)), 3) for state in (self.sums, self.counts)
        )
        n = counts.sum(-1)
        quartiles = {}
        for name, q in QUARTILES.items():
            norms = 10 ** LOG_BINS.quantile(counts[:, : len(NORMS)], q)
            parts = BINS.quantile(counts[:, len(NORMS) :], q)
            quartiles[name] = torch.cat((norms, parts), 1)
        return {"mean": sums / n, **quartiles, "n": n, "non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """Columns temperature, quantity, k, confidence, mean, q25, median, q75, n, non_finite.

        ``confidence`` names the group, such as "below 0.5", "0.5 to 0.9", "0.99 and above", "all".
        """
        values = self.compute()
        non_finite = int(values.pop("non_finite"))
        groups = (*group_names(self.edges), "all")
        index = [
            (temperature, quantity, k, group)
            for temperature in self.temperatures
            for quantity in (*NORMS, *PARTS)
            for k in self.ks
            for group in groups
        ]
        frame = pd.DataFrame(index, columns=["temperature", "quantity", "k", "confidence"])
        return frame.assign(**flat_columns(values), non_finite=non_finite)


def group_names(edges: Sequence[float]) -> list[str]:
    """Names of the groups between the edges, least confident first."""
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g}", *inner, f"{edges[-1]:g} and above"]


def check_edges(edges: Sequence[float]) -> tuple[float, ...]:
    """Return the edges; a ValueError unless they are ascending numbers in (0, 1)."""
    found = tuple(float(edge) for edge in edges)
    if not found or list(found) != sorted(set(found)) or not 0 < found[0] <= found[-1] < 1:
        raise ValueError(f"confidence edges must ascend within (0, 1), got {found}")
    return found
