"""Signal-to-noise ratio of the gradients (figure 20): which terms carry signal, at which layer."""

from math import log

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.by_layer import ONLY_TERM, LayerAnalyzer, largest_by_layer
from kdanalysis.analyzers.evidence import UNTESTED, Interval, jackknife
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.student_t import for_all
from kdanalysis.core.wording import numeral, numerals
from kdanalysis.draw.axes import time_axis
from kdanalysis.draw.colours import GREY
from kdanalysis.draw.look import Axes, Figure
from kdanalysis.draw.panels import (
    by_epoch,
    draw_term,
    layer_panels,
    records_left_out,
    terms_legend,
)
from kdanalysis.draw.tables import require

BANDED = 4  # more bands over each other show nothing


class SignalToNoise(LayerAnalyzer):
    """Squared mean over variance of the per-sample gradient of every term, at every layer.

        snr = ||E g||^2 / tr Cov g        g the gradient of the term for one sample, at the layer

    The ratio of arXiv 2001.07384, which DeepKD (arXiv 2505.15133) compares between task, target and
    non-target gradients, there for single parameters: mean^2 / variance. Here squared mean and
    variance are summed over a layer's parameters first, so a parameter counts by its variance. The
    gradient of a batch of n has n times this ratio: at 1/n its signal and its noise are as long.

    Estimated from a batch of n by its mean gradient G and the trace C of the covariance over its
    samples (for a linear head from every sample, elsewhere from two halves of the batch):

        signal = ||G||^2 - C / n        noise = C

    Both are unbiased for samples drawn independently, so both may be averaged over steps and ranks
    before the ratio is taken, as the columns are; signal may come out below zero where there is
    next to none, and is left so. The ratio of the averages is biased by a relative amount of the
    order of 1 / (records x directions that share the variance). Batch normalisation couples the
    samples of a batch, which biases both a little.
    """

    noun, title = "snr", "Signal and noise of the terms"
    needs = ("gram", "covariance", "count", "layer", "step")

    def of_layers(self) -> dict[str, tuple[int, ...]]:
        """Signal and noise of every term."""
        return dict.fromkeys(("signal", "noise"), (len(self.terms),)) | {"samples": ()}

    def add(
        self,
        gram: Float[Tensor, "m t t"],
        covariance: Float[Tensor, "m t t"],
        count: Int[Tensor, " m"],
        row: Int[Tensor, " m"],
    ) -> None:
        """Add dot products, covariances and samples to the rows of their step and layer."""
        square, noise = (x.diagonal(dim1=1, dim2=2).double() for x in (gram, covariance))
        signal = square - noise / count.double().unsqueeze(-1)
        self.add_rows(row, signal=signal, noise=noise, samples=count)

    def measures(self) -> dict[str, Tensor]:
        """Mean signal and noise, and their ratio, by (step, layer, term); batch."""
        count = self.n.unsqueeze(-1)
        return {
            "signal": self.signal / count,
            "noise": self.noise / count,
            "snr": self.signal / self.noise,
            "batch": self.samples / self.n,
        }

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, layer, term, signal, noise, snr, batch, n, non_finite.

        batch is the mean number of samples of a record, n the number of records, non_finite that
        of the records left out. Layers without any covariance, such as "logits", are left out.
        """
        frame = self.layer_frame([(term,) for term in self.terms], ["term"])
        known = frame.groupby("layer").n.transform("max") > 0
        return frame[known].reset_index(drop=True)


@SignalToNoise.reads()
def snr_reading(table: pd.DataFrame) -> Reading:
    """Whether the terms differ in how much signal they carry; the highest ratio at every layer.

    Of the layer where they differ most, with the 95 % interval of the factor by the jackknife over
    captured steps. A term without signal there has no factor.
    """
    means = by_layer(table)
    number = f"highest ratio at {largest_by_layer(means)}"
    if means.shape[1] < 2:
        return Reading(ONLY_TERM.format(means.columns[0]), number)
    spread = means.max(axis=1) / means.min(axis=1).where(means.min(axis=1) > 0)
    told = "A difference of the terms in signal"
    if spread.isna().all():
        layer = spread.index[0]
        claim = (
            f"at {layer} {means.loc[layer].idxmin()} shows no signal, its estimate is not above 0, "
            f"where {means.loc[layer].idxmax()} has {numeral(means.loc[layer].max(), 2)}"
        )
        return Reading(f"{told} {UNTESTED}: {claim}.", number)
    layer = spread.idxmax()
    high, low = means.loc[layer].idxmax(), means.loc[layer].idxmin()
    pairs = len(means) * means.shape[1] * (means.shape[1] - 1) // 2
    rows = table[table.layer == layer]
    found = _factor(rows, high, low).chosen_of(pairs, rows.step.nunique())
    most, least = numerals(*means.loc[layer, [high, low]])
    claim = (
        f"at {layer}, where it is widest, {high} has {found.ratio()} times the ratio of {low} "
        f"({most} and {least}{for_all(found.half, pairs, 'factors')})"
    )
    return Reading(f"{told} {found.verdict}: {claim}.", number)


def _factor(rows: pd.DataFrame, high: str, low: str) -> Interval:
    """Logarithm of the ratio of two terms' ratios, with its interval over steps left out in turn.

    Half is NaN where there are fewer than three steps, or one left out takes all signal along.
    """
    steps = list(dict.fromkeys(rows.step))
    parts = [rows[rows.step != step] for step in steps] if len(steps) > 2 else []
    whole, *left = (log(_times(part, high, low)) for part in (rows, *parts))
    return jackknife(whole, left)


def _times(rows: pd.DataFrame, high: str, low: str) -> float:
    snr = _ratios(rows, ["term"]).set_index("term").snr
    return float(snr[high] / snr[low]) if min(snr[high], snr[low]) > 0 else np.nan


def by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Ratio over all records, layers as rows, terms as columns, in the order recorded."""
    require(table, "layer", "term", "signal", "noise", "n", number="snr")
    means = _ratios(table, ["layer", "term"]).pivot(index="layer", columns="term", values="snr")
    return means.loc[list(dict.fromkeys(table.layer)), list(dict.fromkeys(table.term))]


@SignalToNoise.shortens
def layer_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """One row a layer, one column a term: its ratio over all records."""
    return by_layer(table).reset_index()


def _ratios(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    sums = table.assign(signal=table.signal * table.n, noise=table.noise * table.n)
    sums = sums.groupby(names, sort=False)[["signal", "noise"]].sum()
    return (sums.signal / sums.noise.where(sums.noise > 0)).rename("snr").reset_index()


@SignalToNoise.picture("Signal-to-noise ratio of every term's gradient at the layers", panels=True)
def snr_over_epochs(table: pd.DataFrame) -> Figure:
    """Signal-to-noise ratio of every term's gradient against the epoch, one panel a layer.

    Squared mean over variance of the per-sample gradients, both summed over the records of an
    epoch first (of a step where no epochs are known). The band is the 95 % interval by the
    jackknife over the captured steps of an epoch, where there are three or more; it is not drawn
    under more than four terms. The grey line is
    1/n: above it the gradient of a batch of n is more signal than noise. The axis is even around
    zero, where the estimate finds no signal, and logarithmic beyond some tenth of 1/n.
    """
    columns = ("step", "epoch", "layer", "term", "signal", "noise", "batch", "n", "non_finite")
    require(table, *columns, number="snr")
    when, name = by_epoch(table)
    rows = _with_intervals(table.assign(when=when))
    batch = float((table.batch * table.n).sum() / table.n.sum())
    few = rows.term.nunique() <= BANDED
    figure, panels = layer_panels(rows)
    for layer, ax in panels.items():
        for term, line in rows[rows.layer == layer].groupby("term", sort=False):
            ends = (line.snr - line.half, line.snr + line.half)
            draw_term(ax, line.when, line.snr, term, ends if few else None)
        ax.axhline(1 / batch, color=GREY, linewidth=1, zorder=0)
    _even_around_zero(next(iter(panels.values())), rows.snr, 1 / batch)
    time_axis(next(iter(panels.values())), rows.when, 4)
    bands = "; band: 95 % interval" if few and rows.half.notna().any() else ""
    figure.supxlabel(name + records_left_out(table), fontsize="medium")
    label = f"signal-to-noise ratio\n(grey: 1/{batch:.0f}, a batch{bands})"
    figure.supylabel(label, fontsize="medium")
    terms_legend(figure)
    return figure


def _with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Ratio by layer, term and ``when``, and half of its interval over the steps of that time."""
    found = []
    for names, rows in table.groupby(["layer", "term", "when"], sort=False):
        sums = rows[["signal", "noise"]].mul(rows.n, axis=0).groupby(rows.step).sum()
        noise = sums.noise.sum()
        whole = sums.signal.sum() / noise if noise > 0 else np.nan
        rest = noise - sums.noise
        left = (sums.signal.sum() - sums.signal)[rest > 0] / rest[rest > 0]
        found.append((*names, *jackknife(whole, left.tolist())))
    return pd.DataFrame(found, columns=["layer", "term", "when", "snr", "half"])


def _even_around_zero(ax: Axes, ratios: pd.Series, level: float) -> None:
    """Scale of ratios that may be below zero: logarithmic from the decade below ``level`` on."""
    decade = 10.0 ** np.floor(np.log10(level / 5))
    ax.set_yscale("symlog", linthresh=decade, linscale=0.6)
    ax.yaxis.set_major_formatter("{x:g}")
    low, high = min(ratios.min(), 0.0), max(ratios.max(), level)
    ax.set_ylim(1.5 * low - 0.3 * decade, 1.5 * high)
