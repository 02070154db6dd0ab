"""NCKD, DKD's non-target term (figure 6; DKD, table 5), by how sure the teacher is of the label."""

from math import floor, log10

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.evidence import Interval, Z, weakest
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.teacher.suppression import rest_odds
from kdanalysis.core.divergence import decompose, slopes
from kdanalysis.core.partition import Target
from kdanalysis.core.streams import Bins, sum_by_part
from kdanalysis.draw.look import require

BINS = Bins(-50.0, 50.0, 5000)  # log odds of p_label: steps of 0.02, from 2e-22 to 1 - 2e-22
PARTS = {"tenth": 10, "half": 2}
QUANTITIES = {"value": "value (nats)", "norm": "gradient norm"}
AMOUNTS = ("value", "norm", "kd_value", "kd_norm")
MEANS = ("confidence", *AMOUNTS)
STDS = tuple(f"{name}_std" for name in AMOUNTS)


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

    noun, title = "nckd", "NCKD by teacher confidence"
    needs = ("student_logits", "teacher_logits", "target")
    made_for = ("temperature",)

    def __init__(self, temperature: float | int = 4.0) -> None:
        super().__init__(temperature=temperature)
        self.add_sum("samples", BINS.size)
        self.add_sum("sums", len(MEANS), BINS.size)
        self.add_sum("squares", len(AMOUNTS), BINS.size)

    def add(self, student: Logits, teacher: Logits, target: Labels) -> None:
        """Add the finite samples of a batch."""
        student, teacher, label = student.double(), teacher.double(), target.long()
        t, odds = self.temperature, -rest_odds(teacher, label)
        sides = student, teacher, Target().members(teacher, label)
        value = t**2 * decompose(*sides, t).low[:, 1]
        slope = slopes(*sides, (1.0, 1.0, 1.0), t).low[1]
        norm, rest = slope.norm(dim=-1), rest_odds(teacher / t, label).sigmoid()
        place = BINS.index(odds)
        rows = torch.stack([odds.sigmoid(), value, norm, rest * value, rest * norm])
        binned = {"sums": rows, "squares": rows[1:].square()}
        self.accumulate(
            samples=place.bincount(minlength=BINS.size),
            **{
                name: values.new_zeros(len(values), BINS.size).index_add(1, place, values)
                for name, values in binned.items()
            },
        )

    def compute(self) -> dict[str, Tensor]:
        """What the table says, tenths before halves; NaN in a part without samples; non_finite."""
        n, sums, squares = (
            torch.cat([sum_by_part(state, self.samples, p) for p in PARTS.values()], -1)
            for state in (self.samples, self.sums, self.squares)
        )
        borders = [i / parts for parts in PARTS.values() for i in range(parts)]
        lowest = torch.stack([BINS.quantile(self.samples, q) for q in borders]).sigmoid()
        means = dict(zip(MEANS, sums / n, strict=True))
        stds = dict(zip(STDS, deviation(sums[1:], squares, n), strict=True))
        counts = {"n": n, "non_finite": self.non_finite.clone()}
        return {"lowest": lowest, **means, **stds, **counts}

    def table(self) -> pd.DataFrame:
        """Columns part, place, lowest, confidence, value, norm, kd_value, kd_norm, stds, n, ...

        ``part`` is "tenth" or "half", ``place`` counts from the least sure. ``lowest`` is the
        p_label at T = 1 with which the part begins, ``confidence`` its mean. Values in nats and L2
        norms of gradients in the student logits are means over samples, T^2 included; ``kd_`` those
        inside plain KD. ``value_std`` and its like are standard deviations over samples. The last
        columns are temperature (of the term) and non_finite.
        """
        index = [(part, i + 1) for part, parts in PARTS.items() for i in range(parts)]
        frame = self.frame(index, ["part", "place"])
        frame.insert(len(frame.columns) - 1, "temperature", self.temperature)
        return frame


@NCKDByConfidence.reads()
def nckd_reading(table: pd.DataFrame) -> Reading:
    """Whether the surer half of the samples holds more of nckd; its part, alone and in KD.

    It does where its shares of the summed value and of the summed gradient norm both lie above a
    half, with their 95 % intervals.
    """
    shares = half_shares(table)
    if np.isnan(shares["norm"].value):
        nothing = "nckd is 0 for every sample"
        return Reading(
            f"{nothing}: two classes have no relations among the others, or the student equals "
            f"its teacher.",
            nothing,
        )
    told = {name: one.percent() for name, one in shares.items()}
    number = (
        f"surer half: {told['value']} of the value, {told['norm']} of the norm of "
        f"nckd; inside KD {told['kd_value']} and {told['kd_norm']}"
    )
    border = table[(table.part == "half") & (table.place == 2)].lowest.iloc[0]
    claim = (
        f"the samples whose label has a probability above {_probability(border)} hold "
        f"{told['value']} of its value and {told['norm']} of its gradient norm; inside "
        f"KD, which scales it by 1 - p, {told['kd_value']} and {told['kd_norm']}"
    )
    more = weakest(shares[name].above(0.5) for name in QUANTITIES)
    head = f"More of nckd in the surer half of the samples {more.claim}"
    return Reading(f"{head}: {claim}.", number)


def half_shares(table: pd.DataFrame) -> dict[str, Interval]:
    """Part of the sum over all samples that the surer half holds; NaN where the sum is 0.

        S = A / (A + B)        Var S = (B^2 Var A + A^2 Var B) / (A + B)^4

    A and B are the sums of two halves of independent samples; their border is taken as given.
    """
    rows, shares = part_rows(table, "half"), {}
    for name in AMOUNTS:
        sums, spread = (
            {place: float(found[rows.place == place].sum()) for place in (1, 2)}
            for found in (rows[name] * rows.n, rows[f"{name}_std"] ** 2 * rows.n)
        )
        whole = sums[1] + sums[2] or float("nan")
        error = np.sqrt(sums[1] ** 2 * spread[2] + sums[2] ** 2 * spread[1]) / whole**2
        shares[name] = Interval(sums[2] / whole, float(Z * error))
    return shares


def _probability(p: float) -> str:
    """A probability with the digits that tell it from 0 and 1: 0.52, 0.99983."""
    return f"{p:.2g}" if p < 0.5 else f"{p:.{1 - floor(log10(max(1 - p, 1e-15)))}f}"


def part_rows(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """The parts of one kind that have samples."""
    require(table, "part", "place", "lowest", *MEANS, *STDS, "n", number="value")
    return table[(table.part == part) & (table.n > 0)]
