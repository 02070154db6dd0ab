"""How much louder than in plain KD a group of classes is (figure 4; algebra, in no paper)."""

from collections.abc import Mapping, Sequence
from math import log, log10

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Logits
from kdanalysis.analyzers.frames import histogram
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.targets import Targets
from kdanalysis.core.bins import Bins
from kdanalysis.core.octaves import log_sums
from kdanalysis.core.streams import check_temperature
from kdanalysis.core.wording import counted, numeral, percent
from kdanalysis.draw.colours import FAINT, GREY, ladder_colours
from kdanalysis.draw.look import PAGE, Axes, new_axes, side_legend, styled
from kdanalysis.draw.marks import shares_up_to
from kdanalysis.draw.tables import require, state_left_out
from kdanalysis.losses import non_top_terms

BINS = Bins(-4.0, 36.0, 800)  # log10 of the factor, 20 bins a decade
SEEN_FROM, SEEN_TO = 0.5, 1e6  # factors drawn, the same on all figures


class Amplification(Analyzer):
    """Distribution of log10(w_g / P_g): the weight of a low term over the one it has in plain KD.

    P_g is the teacher's mass of the group at temperature T. With weight 8 on the non-target
    classes the factor is 20 at a confidence of .6, 80 at .9 and 800 at .99.

    Args:
        losses: decoupled losses (DKD, GDKD, ...) by a name of your own; of each, the partition,
            the weights and the names are used. A term of weight 0 or without a name has no factor.
        temperatures: every T > 0 to look at, in place of the losses' own.
        distilled: T of the training, which is told and drawn first; added where it lacks. If not
            given 4, the papers', or the lowest where that is not among them.

    Raises:
        ValueError: a loss without a partition, such as KD.
    """

    noun, title = "amplification", "Amplification over plain KD"
    needs, mixed = ("teacher_logits", "target"), True

    def __init__(
        self,
        losses: Mapping[str, object],
        temperatures: Sequence[float | int] = (1, 2, 4, 8),
        distilled: float | int | None = None,
    ) -> None:
        self.parts = _weighted_groups(losses)
        ladder = sorted(map(float, temperatures))
        if distilled is None:
            distilled = 4.0 if 4.0 in ladder else min(ladder, default=1.0)
        else:
            ladder = sorted({*ladder, check_temperature(distilled)})
        super().__init__(losses=dict(losses), temperatures=ladder, distilled=float(distilled))
        self.add_sum("counts", len(self.parts), len(self.temperatures), BINS.size)

    @classmethod
    def for_setting(cls, setting: Setting) -> "Amplification | None":
        """Return the analyzer of DKD and GDKD; None for two classes, which have no relations."""
        if setting.num_classes <= 2:
            return None
        return cls(setting.decoupled, distilled=setting.temperature)

    def add(self, teacher: Logits, targets: Targets) -> None:
        """Add the finite samples of a batch."""
        teacher, seen = teacher.double(), {}
        for name, loss in self.losses.items():
            rows, label = targets.seen_by(loss)
            logits = teacher if rows is None else teacher[rows]
            seen[name] = logits, loss.partition(logits, label) if len(logits) else None
        whole = {logits: log_sums(logits, self.temperatures) for logits, _ in seen.values()}
        ladder = torch.arange(len(self.temperatures), device=teacher.device).unsqueeze(-1)
        for row, (loss, _, group, weight) in enumerate(self.parts):
            logits, groups = seen[loss]
            if groups is None:
                continue
            inside = logits.masked_fill(groups != group, -torch.inf)
            log_mass = log_sums(inside, self.temperatures) - whole[logits]
            BINS.add(self.counts[row], log10(weight) - log_mass / log(10), ladder)

    def measures(self) -> dict[str, Tensor]:
        """``count`` (term, temperature, bin), ``median`` of the factor w_g / P_g, ``n`` samples."""
        return {
            "count": self.counts.clone(),
            "median": 10 ** BINS.quantile(self.counts, 0.5),
            "n": self.counts.sum(-1),
        }

    def table(self) -> pd.DataFrame:
        """Columns loss, term, temperature, low, high, count, share, n, distilled, non_finite.

        ``low`` and ``high`` are the edges of a bin of log10(w_g / P_g); the outermost bins reach
        to -inf and inf. Bins without a sample have no row. ``distilled`` is the training's T.
        """
        names = [part[:2] for part in self.parts], self.temperatures
        frame = histogram(BINS, self.counts, names, ["loss", "term", "temperature"])
        return frame.assign(distilled=self.distilled, non_finite=int(self.non_finite))


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
    """Median and 99th percentile of w_g / P_g, first at the training's T; how far T moves them.

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
        f"T = {t:g}: median {_factor(medians[t])}, 1 of 100 above {_end(ends[t])}" for t in medians
    )
    own = float(rows.distilled.iloc[0])
    own = own if own in medians else min(medians)
    told = (
        f"At T = {own:g} {rows.loss.iloc[0]} weighs {rows.term.iloc[0]} {_factor(medians[own])} "
        f"times as plain KD does in the median sample, above {_end(ends[own])} times in 1 of 100"
    )
    if (n := int(rows.n.max())) < 100:
        told += f" ({counted(n, 'sample')} alone)"
    others = [f"{_factor(medians[t])} at T = {t:g}" for t in medians if t != own]
    beside = f"; the median is {', '.join(others)}" if others else ""
    return Reading(f"{told}{beside}.", number)


def _one_term(table: pd.DataFrame, loss: str | None, term: str | None) -> pd.DataFrame:
    require(table, "loss", "term", "temperature", "low", "high", "share", "count", "distilled")
    rows = table[table.loss == loss] if loss else table
    rows = rows[rows.term == term] if term else rows[rows.term.isin(non_top_terms())]
    if rows.empty:
        have = sorted(set(zip(table.loss, table.term, strict=True)))
        raise ValueError(f"no rows for loss {loss!r} and term {term!r}, the table has {have}")
    first = rows.iloc[0]
    return rows[(rows.loss == first.loss) & (rows.term == first.term)].sort_values("low")


def _quantile(rows: pd.DataFrame, q: float) -> float:
    """Factor below which the share q of the samples lies; in its bin, of 12 %, they are even."""
    up_to = rows.share.cumsum().to_numpy()
    place = min(int(np.searchsorted(up_to, q - 1e-12)), len(rows) - 1)
    row = rows.iloc[place]
    if np.isinf([row.low, row.high]).any():
        return float(10.0 ** (row.low + row.high))
    inside = 1 - (up_to[place] - q) / row.share
    return float(10.0 ** (row.low + min(inside, 1.0) * (row.high - row.low)))


def _factor(value: float) -> str:
    return f"{'above ' * (value == np.inf)}{_end(value)}"


def _end(value: float) -> str:
    """Two digits; the histogram ends at 1e36."""
    return "10³⁶" if value == np.inf else numeral(value, 2)


@styled
def amplification_over_kd(
    table: pd.DataFrame, ax: Axes | None = None, loss: str | None = None, term: str | None = None
) -> Axes:
    """Share of samples whose w_g / P_g is at most a factor, one curve a temperature.

    The training's T is bold; the legend holds the medians, where the curves cross 50 %. The line at
    1 is plain KD. All figures have the same axis, to 1e6; the label counts what lies beyond. Loss
    and term as for :func:`amplification_reading`.
    """
    rows = _one_term(table, loss, term)
    ax = ax or new_axes(PAGE, 3.0)
    colours = ladder_colours(rows.temperature)
    own, beyond = float(rows.distilled.iloc[0]), []
    for temperature, part in rows.groupby("temperature"):
        median = _quantile(part, 0.5)
        shares_up_to(
            ax,
            10.0**part.low,
            10.0**part.high,
            part.share,
            (10.0**BINS.low, 10.0**BINS.high),
            color=colours[temperature],
            linewidth=3.2 if temperature == own else 1.3,
            label=f"T = {temperature:g}: {_factor(median)}",
        )
        past = part.share[part.low >= log10(SEEN_TO) - 1e-9].sum()
        beyond += [f"{percent(past, 0)} at T = {temperature:g}"] * bool(past >= 0.005)
    ax.axvline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    ax.axhline(50, color=FAINT, linewidth=1, zorder=0)
    ax.set_xscale("log")
    ax.set_xlim(SEEN_FROM, SEEN_TO)
    ax.set_ylim(0, 100)
    name, kind = rows.loss.iloc[0], rows.term.iloc[0]
    ax.set_title(f"{name}: {kind}", loc="left", parse_math=False)
    note = f"\n(beyond: {', '.join(beyond)})" if beyond else ""
    ax.set_xlabel(
        "weight over teacher mass, w / P (1: as in plain KD)" + note + state_left_out(table)
    )
    ax.set_ylabel("samples up to here (%)")
    side_legend(ax, f"median factor\n(bold: distils, T = {own:g})")
    return ax


@Amplification.picture("Weight of DKD's non-target term over its weight in KD")
def amplification_of_dkd(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The curves of the loss "dkd"."""
    return amplification_over_kd(table, ax, "dkd")


@Amplification.picture("Weight of GDKD's non-top term over its weight in KD")
def amplification_of_gdkd(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The curves of the loss "gdkd"."""
    return amplification_over_kd(table, ax, "gdkd")
