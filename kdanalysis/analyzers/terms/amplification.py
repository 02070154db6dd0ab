"""How much louder than in plain KD a group of classes is (figure 4; algebra, in no paper)."""

from collections.abc import Mapping, Sequence
from math import log, log10

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits, histogram
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.streams import Bins
from kdanalysis.draw.look import (
    GREY,
    PAGE,
    Axes,
    ladder_colours,
    new_axes,
    require,
    side_legend,
    state_left_out,
    styled,
)
from kdanalysis.losses import non_top_terms

BINS = Bins(-4.0, 36.0, 800)  # log10 of the factor, 20 bins a decade
MOST_BINS = 60  # drawn


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

    noun, title = "amplification", "Amplification over plain KD"
    needs = ("teacher_logits", "target")

    def __init__(
        self,
        losses: Mapping[str, object],
        temperatures: Sequence[float | int] = (1, 2, 4, 8),
    ) -> None:
        self.parts = _weighted_groups(losses)
        super().__init__(losses=dict(losses), temperatures=temperatures)
        self.add_sum("counts", len(self.parts), len(self.temperatures), BINS.size)

    @classmethod
    def for_setting(cls, setting: Setting) -> "Amplification | None":
        """Return the analyzer of DKD and GDKD; None for two classes, which have no relations."""
        return cls(setting.decoupled) if setting.num_classes > 2 else None

    def add(self, teacher: Logits, target: Labels) -> None:
        """Add the finite samples of a batch."""
        teacher = teacher.double()
        groups = {name: loss.partition(teacher, target) for name, loss in self.losses.items()}
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
        names = [part[:2] for part in self.parts], self.temperatures
        frame = histogram(BINS, self.counts, names, ["loss", "term", "temperature"])
        return frame.assign(non_finite=int(self.non_finite))


def _weighted_groups(losses: Mapping[str, object]) -> list[tuple[str, str, int, float]]:
    """Return (loss, term, group id, weight) of every low term that has a factor."""
    if not losses:
        raise ValueError("need at least one loss, got none")
    parts = []
    for name, loss in losses.items():
        if not hasattr(loss, "partition"):
            raise ValueError(f"{loss} has no partition: amplification compares group weights")
        low = zip(loss.names[1:], loss.weights[1:], strict=True)
        given = [(term, w) if isinstance(w, float) else (None, 0.0) for term, w in low]  # not KD's
        parts += [(name, term, g, w) for g, (term, w) in enumerate(given) if term and w > 0]
    return parts


@Amplification.reads()
def amplification_reading(
    table: pd.DataFrame, loss: str | None = None, term: str | None = None
) -> Reading:
    """Whether the lowest temperature has the longest tail; median and tail, by temperature.

    The tail is the 99th percentile of w_g / P_g over the median; a long one is above 10.

    Args:
        table: as ``Amplification.table`` gives it.
        loss: which loss; the first one of the table when None.
        term: which term; low_other or nckd when None.
    """
    rows = _one_term(table, loss, term)
    medians, ends = (
        {t: _quantile(part, q) for t, part in rows.groupby("temperature")} for q in (0.5, 0.99)
    )
    number = "; ".join(
        f"T = {t:g}: median {_factor(medians[t])}, 99 % below {_factor(ends[t])}" for t in medians
    )
    cold, warm = min(medians), max(medians)
    tails = {t: ends[t] / medians[t] for t in (cold, warm)}
    claim = f"{rows.loss.iloc[0]} makes {rows.term.iloc[0]} {_factor(medians[cold])} times as loud "
    if np.isnan(tails[cold]):
        return Reading(f"{claim}as plain KD at T = {cold:g} (median sample).", number)
    tail = f"at T = {cold:g} the 99th percentile is {tails[cold]:.3g} times the median"
    if cold == warm:
        return Reading(f"{claim}as plain KD does (median sample); {tail}.", number)
    tail += f", at T = {warm:g} {tails[warm]:.3g} times"
    if tails[cold] > 10 and tails[cold] > tails[warm]:
        claim += f"as plain KD at T = {cold:g} (median sample), with a long tail: {tail}."
        return Reading(claim, number)
    return Reading(f"These data do not show a long tail at T = {cold:g}: {tail}.", number)


def _one_term(table: pd.DataFrame, loss: str | None, term: str | None) -> pd.DataFrame:
    require(table, "loss", "term", "temperature", "low", "high", "share", "count")
    rows = table[table.loss == loss] if loss else table
    rows = rows[rows.term == term] if term else rows[rows.term.isin(non_top_terms())]
    if rows.empty:
        have = sorted(set(zip(table.loss, table.term, strict=True)))
        raise ValueError(f"no rows for loss {loss!r} and term {term!r}, the table has {have}")
    first = rows.iloc[0]
    return rows[(rows.loss == first.loss) & (rows.term == first.term)].sort_values("low")


def _quantile(rows: pd.DataFrame, q: float) -> float:
    """Factor below which the share q of the samples lies, to a bin's width."""
    place = min(int(np.searchsorted(rows.share.cumsum(), q - 1e-12)), len(rows) - 1)
    return float(10.0 ** rows.iloc[place][["low", "high"]].mean())


def _factor(value: float) -> str:
    """Two digits, written out up to a million; the histogram ends at 1e36."""
    if value == np.inf:
        return "above 1e36"
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if 10 <= rounded < 1e6 else f"{rounded:.2g}".replace("e+0", "e")


@styled
def amplification_over_kd(
    table: pd.DataFrame, ax: Axes | None = None, loss: str | None = None, term: str | None = None
) -> Axes:
    """Histogram of w_g / P_g for one term of one loss, one curve a temperature.

    The line at 1 is plain KD. Neighbouring bins are joined until at most 60 are left. Loss and
    term as for :func:`amplification_reading`.
    """
    rows = _one_term(table, loss, term)
    ax = ax or new_axes(PAGE, 3.2)
    inside = rows[np.isfinite(rows.low) & np.isfinite(rows.high)]
    edges, heights = _joined(inside)
    colours = ladder_colours(rows.temperature)
    for place, (temperature, height) in enumerate(heights.items()):
        median = _quantile(rows[rows.temperature == temperature], 0.5)
        first, *_, last = [*np.flatnonzero(height), np.flatnonzero(height)[-1]]
        ax.stairs(
            100 * height[first : last + 1],
            10.0 ** edges[first : last + 2],
            color=colours[temperature],
            linewidth=max(3.2 - 0.6 * place, 1.2),  # curves under curves stay visible
            label=f"T = {temperature:g}: {_factor(median)}",
        )
    ax.axvline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xscale("log")
    ax.set_ylim(0)
    name, kind = rows.loss.iloc[0], rows.term.iloc[0]
    ax.set_title(f"{name}: {kind}", loc="left", parse_math=False)
    beyond = rows[~rows.index.isin(inside.index)]["count"].sum()
    note = f"\n({beyond:,} values beyond the histogram not drawn)" if beyond else ""
    ax.set_xlabel(
        "weight over teacher mass, w / P (1: as in plain KD)" + note + state_left_out(table)
    )
    ax.set_ylabel(f"samples (% per {edges[1] - edges[0]:.2g} decades)")
    side_legend(ax, "median factor")
    return ax


@Amplification.picture("Weight of DKD's non-target term over its weight in KD")
def amplification_of_dkd(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The histogram of the loss "dkd"."""
    return amplification_over_kd(table, ax, "dkd")


@Amplification.picture("Weight of GDKD's non-top term over its weight in KD")
def amplification_of_gdkd(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The histogram of the loss "gdkd"."""
    return amplification_over_kd(table, ax, "gdkd")


def _joined(rows: pd.DataFrame) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """Common edges (log10) of joined bins, and the share in each by temperature."""
    width = (rows.high - rows.low).median() if len(rows) else 1.0
    low, high = (rows.low.min(), rows.high.max()) if len(rows) else (0.0, 1.0)
    count = max(round((high - low) / width), 1)
    join = -(-count // MOST_BINS)
    bins = -(-count // join)
    edges = low + width * join * np.arange(bins + 1)
    heights = {}
    for temperature, part in rows.groupby("temperature"):
        place = np.floor((part.low + width / 2 - low) / (width * join)).astype(int)
        heights[temperature] = np.bincount(place, weights=part.share, minlength=bins)
    return edges, heights
