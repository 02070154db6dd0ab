"""Calibration (figure 22): is a network that says .8 right 8 times of 10, and at which T?"""

from collections.abc import Sequence
from math import nan
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.chunks import chunks
from kdanalysis.analyzers.noun import Tables
from kdanalysis.analyzers.teacher.reliability import (
    BINS,
    bin_edges,
    calibration_error,
    calibration_sums,
)
from kdanalysis.core.streams import check_temperature, check_temperatures
from kdanalysis.core.wording import numeral
from kdanalysis.draw.tables import require

# Quarter octaves from 0.25 to 16. Octaves share their mantissas, which makes them cheap to sum.
LADDER = (*(2.0**octave * 2.0 ** (q / 4) for octave in range(-2, 4) for q in range(4)), 16.0)
ENTRIES = 2**18  # of a chunk
ABOVE = "nll_above_se"  # tables made before lack it
SCORES = {"ece": "ECE", "nll": "NLL (nats)", "brier": "Brier score"}


class Calibration(Analyzer):
    """Reliability, calibration error, NLL and Brier score of p = softmax(logits / T), many T.

    A sample's confidence is max p; it belongs to one of 15 equal-width bins (low, high]. Of classes
    that tie for the largest logit the first counts as predicted.

    - ``ece``: expected calibration error (``calibration_error``), in [0, 1].
    - ``nll``: mean of -log p_target, nats.
    - ``brier``: mean of sum_i (p_i - [i = target])^2, in [0, 2].

    Args:
        num_classes: c, at least 2.
        distilled: T > 0 at which the teacher distils; the ladder gets it where it lacks it.
        temperatures: the ladder of T > 0; 25 from 0.25 to 16 unless given.
        side: whose logits they are.
    """

    noun, title, beside = "calibration", "Calibration against temperature", False
    needs = ("teacher_logits", "target")
    made_for = ("num_classes", "temperature")

    def __init__(
        self,
        num_classes: int,
        distilled: float | int = 4.0,
        temperatures: Sequence[float | int] = LADDER,
        side: Literal["teacher", "student"] = "teacher",
    ) -> None:
        distilled = check_temperature(distilled)
        ladder = tuple(sorted({*check_temperatures(temperatures), distilled}))
        super().__init__(side, num_classes=num_classes, distilled=distilled, temperatures=ladder)
        self.needs = (f"{side}_logits", "target")
        for name in ("nll", "brier"):
            self.add_sum(name, len(ladder))
        self.add_sum("products", len(ladder), len(ladder))
        for name in ("count", "confidence", "correct"):
            self.add_sum(name, len(ladder), BINS)

    def add(self, logits: Logits, target: Labels) -> None:
        """Add the finite samples of a batch."""
        for part, labels in chunks(logits, target.long(), entries=ENTRIES):
            self.accumulate(**calibration_sums(part.double(), labels, self.temperatures))

    def measures(self) -> dict[str, Tensor]:
        """``ece``, ``nll`` and ``brier`` by T, and by (T, bin) what the table says."""
        n = self.count.sum(-1)
        return {
            "count": self.count.clone(),
            "confidence": self.confidence / self.count,
            "accuracy": self.correct / self.count,
            "ece": calibration_error(self.confidence, self.correct, n),
            "nll": self.nll / n,
            "brier": self.brier / n,
            ABOVE: self._above(n),
            "n": n,
        }

    def _above(self, n: Tensor) -> Tensor:
        """Standard error over samples of NLL at every T less that at the T of the least."""
        best = int(self.nll.argmin())
        own = self.products.diagonal()
        squares = (own + own[best] - 2 * self.products[best]).clamp(min=0)
        return deviation(self.nll - self.nll[best], squares, n) / n.sqrt()

    def table(self) -> pd.DataFrame:
        """One row a (temperature, bin), 15 bins each; what belongs to a temperature is repeated.

        Columns temperature, low, high (edges of the bin), count, confidence (mean max p), accuracy
        (both NaN in an empty bin), ece, nll, brier, nll_above_se (standard error of nll less that
        of the T of the ladder where it is least), n, distilled, calibrated (the T of least NLL,
        refined as :func:`least` does), non_finite.
        """
        values = {name: value.cpu() for name, value in self.compute().items()}
        non_finite, edges = int(values.pop("non_finite")), bin_edges()
        columns = {"temperature": torch.tensor(self.temperatures, dtype=torch.float64)}
        columns |= {"low": edges[:-1].unsqueeze(0), "high": edges[1:].unsqueeze(0), **values}
        shape = len(self.temperatures), BINS
        frame = pd.DataFrame(
            {
                name: (value.unsqueeze(-1) if value.dim() == 1 else value)
                .expand(shape)
                .flatten()
                .tolist()
                for name, value in columns.items()
            }
        ).astype({"count": "int64", "n": "int64"})
        calibrated = nan if frame.nll.isna().any() else least(_scores(frame), "nll").temperature
        told = {"distilled": self.distilled, "calibrated": calibrated}
        return frame.assign(**told, non_finite=non_finite)


class Least(NamedTuple):
    """Where a score is least: the temperature, the score, and whether the ladder ends there."""

    temperature: float
    value: float
    end: bool

    def __str__(self) -> str:
        beyond = ("≤ " if self.temperature < 1 else "≥ ") if self.end else ""
        return f"{beyond}{numeral(self.temperature)}"

    @property
    def at(self) -> str:
        """The temperature as a sentence has it, ``T = 4`` or ``T ≤ 0.25``."""
        return f"T {self}" if self.end else f"T = {self}"


def least(scores: pd.DataFrame, score: str) -> Least:
    """Where a score is least; for NLL and Brier score refined between the ladder's temperatures.

    These two are smooth in log T, so that the vertex of the parabola through the lowest point and
    its neighbours is within a percent of the minimum on the usual ladder. ECE jumps as samples
    change bins: its T is one of the ladder.

    Args:
        scores: one row a temperature, which is the index, ascending.
        score: ece, nll or brier.
    """
    place = int(np.argmin(scores[score]))
    point = float(scores.index[place]), float(scores[score].iloc[place])
    end = place in (0, len(scores) - 1)
    if end or score == "ece":
        return Least(*point, end)
    near = scores[score].iloc[place - 1 : place + 2]
    away = np.log(near.index.to_numpy(float) / point[0])
    square, slope, value = np.polyfit(away, near.to_numpy(), 2)
    vertex = -slope / (2 * square)
    return Least(float(point[0] * np.exp(vertex)), float(value + slope * vertex / 2), end)


def join_networks(tables: Tables) -> pd.DataFrame:
    """Return the tables of several networks as one, their names in a column ``network``.

    A network without a finite sample is left out.

    Raises:
        ValueError: that is all of them.
    """
    known = [t.assign(network=name) for name, t in tables.items() if t.nll.notna().any()]
    if not known:
        raise ValueError(f"the table has no value of 'nll' for any of {list(tables)}")
    return pd.concat(known, ignore_index=True)


def by_network(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Scores, mean confidence and accuracy by temperature, of every network."""
    bins = ("temperature", "count", "confidence", "accuracy")
    require(table, *bins, *SCORES, "n", "distilled", number="nll")
    groups = table.groupby("network", sort=False) if "network" in table else [("", table)]
    return {str(name): _scores(rows) for name, rows in groups}


def one_network(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of the table's only network; a ValueError where there are several."""
    networks = by_network(table)
    if len(networks) > 1:
        raise ValueError(f"the table holds {list(networks)}: give the rows of one network")
    return next(iter(networks.values()))


@Calibration.shortens
def scores_by_temperature(rows: pd.DataFrame) -> pd.DataFrame:
    """ECE, NLL, Brier score, mean confidence and accuracy of one network, a row a temperature."""
    return _scores(rows)[[*SCORES, "confidence", "accuracy"]].reset_index()


def _scores(rows: pd.DataFrame) -> pd.DataFrame:
    weighted = rows[["confidence", "accuracy"]].mul(rows["count"] / rows.n, axis=0)
    mean = weighted.groupby(rows.temperature).sum(min_count=1)
    known = [*SCORES, *(name for name in (ABOVE, "n") if name in rows)]
    return mean.join(rows.groupby("temperature")[known].first()).sort_index()
