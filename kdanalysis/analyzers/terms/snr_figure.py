"""Figures of the gradients' signal-to-noise ratio (figure 20): which terms carry signal, where."""

import pandas as pd

from kdanalysis.draw.look import GREY, Figure, require, styled
from kdanalysis.draw.panels import (
    by_epoch,
    draw_term,
    drawn_layers,
    layer_panels,
    records_left_out,
    terms_legend,
)


@styled
def snr_over_epochs(table: pd.DataFrame) -> Figure:
    """Signal-to-noise ratio of every term's gradient against the epoch, one panel a layer.

    Squared mean over variance of the per-sample gradients, both summed over the records of an
    epoch first (of a step where no epochs are known). The grey line is 1/n: above it the gradient
    of a batch of n is more signal than noise. A ratio at or below zero, where the estimate finds no
    signal, has no place on the logarithmic axis; the label counts them.

    Args:
        table: columns step, epoch, layer, term, signal, noise, batch, n, non_finite
            (``SignalToNoise``).
    """
    rows, name = ratios(table)
    figure, panels = layer_panels(rows)
    for layer, ax in panels.items():
        for term, line in rows[rows.layer == layer].groupby("term", sort=False):
            draw_term(ax, line.when, line.snr.where(line.snr > 0), term)
        ax.axhline(1 / mean_batch(table), color=GREY, linewidth=1, zorder=0)
        ax.set_yscale("log")
    absent = int((rows.snr <= 0).sum())
    note = f"\n({absent} of {len(rows)} ratios at or below zero are not drawn)" if absent else ""
    figure.supxlabel(name + note + records_left_out(table), fontsize=10)
    figure.supylabel(
        f"signal-to-noise ratio\n(grey: 1/{mean_batch(table):.0f}, a batch)", fontsize=10
    )
    terms_legend(figure)
    return figure


def ratios(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Columns layer, term, when, snr: ratio of summed signal and noise; and what when counts."""
    columns = ("step", "epoch", "layer", "term", "signal", "noise", "batch", "n", "non_finite")
    require(table, *columns, number="snr")
    when, name = by_epoch(table)
    return _ratios(table.assign(when=when), ["layer", "term", "when"]), name


def _ratios(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    sums = table.assign(signal=table.signal * table.n, noise=table.noise * table.n)
    sums = sums.groupby(names, sort=False)[["signal", "noise"]].sum()
    return (sums.signal / sums.noise.where(sums.noise > 0)).rename("snr").reset_index()


def mean_batch(table: pd.DataFrame) -> float:
    """Mean number of samples of a record."""
    return float((table.batch * table.n).sum() / table.n.sum())


def by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Ratio over all records, layers as rows, terms as columns, in the order recorded."""
    require(table, "layer", "term", "signal", "noise", "n", number="snr")
    means = _ratios(table, ["layer", "term"]).pivot(index="layer", columns="term", values="snr")
    return means.loc[list(dict.fromkeys(table.layer)), list(dict.fromkeys(table.term))]


def snr_number(table: pd.DataFrame) -> str:
    """The term with the highest ratio at every drawn layer, over all records."""
    means = by_layer(table)
    return "highest ratio at " + "; ".join(
        f"{layer}: {means.loc[layer].idxmax()} {means.loc[layer].max():.2g}"
        for layer in drawn_layers(table)
    )


def snr_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the terms differ in how much signal they carry."""
    means = by_layer(table)
    if means.shape[1] < 2:
        return f"{means.columns[0]} is the loss's only term: there is nothing to compare it with."
    spread = means.max(axis=1) / means.min(axis=1).where(means.min(axis=1) > 0)
    if spread.isna().any():
        layer = spread.index[spread.isna()][0]
        term = means.loc[layer].idxmin()
        return (
            f"Terms differ: {term} shows no signal at {layer}, where {means.loc[layer].idxmax()} "
            f"has {means.loc[layer].max():.2g}."
        )
    layer = spread.idxmax()
    high, low = means.loc[layer].idxmax(), means.loc[layer].idxmin()
    claim = (
        f"at {layer} {high} has {spread[layer]:.2g} times the ratio of {low} "
        f"({means.loc[layer, high]:.2g} and {means.loc[layer, low]:.2g})"
    )
    if spread[layer] >= 2:
        return f"Terms differ in how much signal they carry, as DeepKD found: {claim}."
    return f"These data do not show terms that differ much in signal: {claim}."
