"""Calibration against temperature: is a network that says .8 right 8 times of 10?"""

from collections import defaultdict
from collections.abc import Sequence
from math import frexp, ldexp

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.streams import check_classes, check_temperatures

BINS = 15
# Quarter octaves from 0.25 to 16. Octaves share their mantissas, which makes them cheap below.
LADDER = (*(2.0**octave * 2.0 ** (q / 4) for octave in range(-2, 4) for q in range(4)), 16.0)
ENTRIES = {"cpu": 40_000}  # rows x classes of a chunk: its arrays stay in the cache
MANY = 2**22  # on other devices


class Calibration(Analyzer):
    """Reliability, calibration error, NLL and Brier score of p = softmax(teacher / T), many T.

    A sample's confidence is max p; it belongs to one of 15 equal-width bins (low, high]. Of classes
    that tie for the largest logit the first counts as predicted.

    - ``ece``: expected calibration error, the mean over samples of |accuracy - mean confidence| of
      their bin (Guo et al., ICML 2017, arXiv 1706.04599), in [0, 1].
    - ``nll``: mean of -log p_target, nats.
    - ``brier``: mean of sum_i (p_i - [i = target])^2, in [0, 2].

    Args:
        num_classes: c, at least 2.
        distilled: T > 0 at which the teacher distils; the ladder gets it where it lacks it.
        temperatures: the ladder of T > 0; 25 from 0.25 to 16 unless given.
    """

    needs = ("teacher_logits", "target")

    def __init__(
        self,
        num_classes: int,
        distilled: float | int = 4.0,
        temperatures: Sequence[float | int] = LADDER,
    ) -> None:
        check_classes(num_classes)
        (distilled,) = check_temperatures((distilled,))
        ladder = tuple(sorted({*check_temperatures(temperatures), distilled}))
        super().__init__(num_classes, distilled, ladder)
        self.num_classes, self.distilled, self.temperatures = num_classes, distilled, ladder
        for name in ("nll", "brier"):
            self.add_sum(name, len(ladder))
        for name in ("count", "confidence", "correct"):
            self.add_sum(name, len(ladder), BINS)

    def update(self, logits: Float[Tensor, "n c"], target: Int[Tensor, " n"]) -> None:
        """Add one batch of logits (n, c) and labels; ValueError as :meth:`Analyzer.keep`."""
        kept = self.keep(logits, target=target, num_classes=self.num_classes)
        rows = max(1, ENTRIES.get(logits.device.type, MANY) // self.num_classes)
        parts = zip(logits[kept].split(rows), target[kept].long().split(rows), strict=True)
        for part, labels in parts:
            self.accumulate(**calibration_sums(part.double(), labels, self.temperatures))

    def compute(self) -> dict[str, Tensor]:
        """``ece``, ``nll`` and ``brier`` by T, and by (T, bin) what the table says; non_finite."""
        n = self.count.sum(-1)
        return {
            "count": self.count.clone(),
            "confidence": self.confidence / self.count,
            "accuracy": self.correct / self.count,
            "ece": (self.confidence - self.correct).abs().sum(-1) / n,
            "nll": self.nll / n,
            "brier": self.brier / n,
            "n": n,
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """One row a (temperature, bin), 15 bins each; what belongs to a temperature is repeated.

        Columns temperature, low, high (edges of the bin), count, confidence (mean max p), accuracy
        (both NaN in an empty bin), ece, nll, brier, n, distilled, non_finite.
        """
        values = {name: value.cpu() for name, value in self.compute().items()}
        edges = bin_edges()
        columns = {"temperature": torch.tensor(self.temperatures, dtype=torch.float64)}
        columns |= {"low": edges[:-1].unsqueeze(0), "high": edges[1:].unsqueeze(0)}
        columns |= {name: values[name] for name in ("count", "confidence", "accuracy")}
        columns |= {name: values[name] for name in ("ece", "nll", "brier", "n")}
        frame = pd.DataFrame(
            {name: _spread(v, len(self.temperatures)) for name, v in columns.items()}
        )
        frame = frame.astype({"count": "int64", "n": "int64"})
        return frame.assign(distilled=self.distilled, non_finite=int(values["non_finite"]))


class StudentCalibration(Calibration):
    """Calibration of the student's side, everything else being equal."""

    needs = ("student_logits", "target")


def calibration_sums(
    logits: Float[Tensor, "n c"], target: Int[Tensor, " n"], temperatures: Sequence[float]
) -> dict[str, Tensor]:
    """Sums over the samples: nll and brier by T; count, confidence and correct by (T, bin)."""
    top, predicted = logits.max(-1, keepdim=True)
    correct = (predicted == target.unsqueeze(-1)).squeeze(-1).double()
    below = logits - top
    sums, squares = power_sums(below, temperatures)
    ladder = torch.tensor(temperatures, dtype=sums.dtype, device=sums.device).unsqueeze(-1)
    log_p = below.gather(-1, target.unsqueeze(-1)).squeeze(-1) / ladder - sums.log()
    confidence = 1 / sums
    edges = bin_edges().to(sums.device)
    rows = torch.arange(len(temperatures), device=sums.device).unsqueeze(-1)
    place = (rows * BINS + torch.bucketize(confidence, edges[1:-1])).flatten()
    empty = sums.new_zeros(len(temperatures) * BINS)
    binned = {"count": torch.ones_like(sums), "confidence": confidence, "correct": correct}
    return {
        "nll": -log_p.sum(-1),
        "brier": (squares / sums**2 - 2 * log_p.exp() + 1).sum(-1),
        **{
            name: empty.index_add(0, place, value.expand_as(sums).flatten()).view(-1, BINS)
            for name, value in binned.items()
        },
    }


def power_sums(
    below: Float[Tensor, "n c"], temperatures: Sequence[float]
) -> tuple[Float[Tensor, "t n"], Float[Tensor, "t n"]]:
    """Sums over the classes of exp(x / T) and of exp(2x / T), for x <= 0.

    Temperatures an octave apart share their exponentials: exp(x / (T/2)) is the square of
    exp(x / T), so that 25 temperatures in quarter octaves take 4 exponentials a logit, not 50.
    """
    families: dict[float, dict[int, int]] = defaultdict(dict)
    for row, temperature in enumerate(temperatures):
        mantissa, octave = frexp(temperature)
        families[mantissa][octave] = row
    sums, squares = below.new_empty(2, len(temperatures), len(below))
    for mantissa, rows in families.items():
        powers = (below / ldexp(mantissa, max(rows))).exp_()
        total = powers.sum(-1)
        for octave in range(max(rows), min(rows) - 1, -1):
            square = powers.square_().sum(-1)
            if octave in rows:
                sums[rows[octave]], squares[rows[octave]] = total, square
            total = square
    return sums, squares


def bin_edges() -> Float[Tensor, " b"]:
    """The 16 edges of the 15 bins of confidence."""
    return torch.linspace(0, 1, BINS + 1, dtype=torch.float64)


def _spread(values: Float[Tensor, "*shape"], temperatures: int) -> list[float]:
    """Values by temperature, by bin or by both as a column of the table."""
    whole = values.unsqueeze(-1) if values.dim() == 1 else values
    return whole.expand(temperatures, BINS).flatten().tolist()
