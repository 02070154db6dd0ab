"""NCKD, the non-target term of DKD, by how sure the teacher is of the label."""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.teacher.suppression import rest_odds
from kdanalysis.core.divergence import decompose, slopes_of_chosen
from kdanalysis.core.partition import Target
from kdanalysis.core.streams import Bins, check_temperatures, sum_by_part

BINS = Bins(-50.0, 50.0, 5000)  # log odds of p_label: steps of 0.02, from 2e-22 to 1 - 2e-22
PARTS = {"tenth": 10, "half": 2}
MEANS = ("confidence", "value", "norm", "kd_value", "kd_norm")


class NCKDByConfidence(Analyzer):
    """Value and gradient norm of nckd by tenth and by half of the samples, least sure first.

        nckd = T^2 KL(p|rest || q|rest)      in KD's sum: (1 - p_label) nckd      (DKD, eq. 6)

    Samples are ranked by p_label, the teacher's probability of the label at T = 1: DKD ranks by it
    (table 5, arXiv 2203.08679), and it is what plain KD's factor 1 - p_label falls with. Table 5
    is about the accuracy of students trained on one half; value and norm say how much the term
    has to teach there, not what is learnt from it (see ``Confident`` for that).

    Parts hold equal numbers of samples as far as 5000 bins of width 0.02 on the log odds of p_label
    can tell samples apart: a bin goes as a whole to the part of its middle sample.

    Args:
        temperature: T > 0 of the term.
    """

    needs = ("student_logits", "teacher_logits", "target")

    def __init__(self, temperature: float | int = 4.0) -> None:
        (temperature,) = check_temperatures((temperature,))
        super().__init__(temperature)
        self.temperature = temperature
        self.add_sum("samples", BINS.size)
        self.add_sum("sums", len(MEANS), BINS.size)

    def update(
        self,
        student_logits: Float[Tensor, "n c"],
        teacher_logits: Float[Tensor, "n c"],
        target: Int[Tensor, " n"],
    ) -> None:
        """Add one batch of logits (n, c) and labels; ValueError as :meth:`Analyzer.keep`."""
        kept = self.keep(teacher_logits, student_logits, target)
        student, teacher = student_logits[kept].double(), teacher_logits[kept].double()
        label, t = target[kept].long(), self.temperature
        odds = -rest_odds(teacher, label)
        groups = Target()(teacher, label)
        value = t**2 * decompose(student, teacher, groups, 2, t).low[:, 1]
        slopes = slopes_of_chosen(student, teacher, label.unsqueeze(-1), temperature=t)
        norm, rest = slopes.low[1].norm(dim=-1), rest_odds(teacher / t, label).sigmoid()
        place = BINS.index(odds)
        rows = torch.stack([odds.sigmoid(), value, norm, rest * value, rest * norm])
        self.accumulate(
            samples=place.bincount(minlength=BINS.size),
            sums=rows.new_zeros(len(MEANS), BINS.size).index_add(1, place, rows),
        )

    def compute(self) -> dict[str, Tensor]:
        """What the table says, tenths before halves; NaN in a part without samples; non_finite."""
        n = torch.cat([sum_by_part(self.samples, self.samples, p) for p in PARTS.values()])
        sums = torch.cat([sum_by_part(self.sums, self.samples, p) for p in PARTS.values()], -1)
        borders = [i / parts for parts in PARTS.values() for i in range(parts)]
        lowest = torch.stack([BINS.quantile(self.samples, q) for q in borders]).sigmoid()
        means = dict(zip(MEANS, sums / n, strict=True))
        return means | {"lowest": lowest, "n": n, "non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """Columns part, place, lowest, confidence, value, norm, kd_value, kd_norm, n, ...

        ``part`` is "tenth" or "half", ``place`` counts from the least sure. ``lowest`` is the
        p_label at T = 1 with which the part begins, ``confidence`` its mean. Values in nats and L2
        norms of gradients in the student logits are means over samples, T^2 included; ``kd_`` those
        inside plain KD. The last columns are temperature (of the term) and non_finite.
        """
        values = self.compute()
        non_finite = int(values.pop("non_finite"))
        index = [(part, i + 1) for part, parts in PARTS.items() for i in range(parts)]
        columns = ("lowest", *MEANS, "n")
        frame = pd.DataFrame(index, columns=["part", "place"])
        frame = frame.assign(**flat_columns({name: values[name] for name in columns}))
        return frame.assign(temperature=self.temperature, non_finite=non_finite)
