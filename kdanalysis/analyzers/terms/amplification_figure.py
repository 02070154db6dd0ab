"""Figures of amplification over plain KD (figure 4; derived from the algebra, in no paper)."""

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    GREY,
    NON_TOP,
    PAGE,
    Axes,
    ladder_colours,
    new_axes,
    require,
    side_legend,
    state_left_out,
    styled,
)

MOST_BINS = 60


@styled
def amplification_over_kd(
    table: pd.DataFrame, ax: Axes | None = None, loss: str | None = None, term: str | None = None
) -> Axes:
    """Histogram of w_g / P_g for one term of one loss, one curve a temperature.

    The line at 1 is plain KD. Neighbouring bins are joined until at most 60 are left.

    Args:
        table: columns loss, term, temperature, low, high, share, non_finite (``Amplification``).
        ax: axes to draw on; a new figure when None.
        loss: which loss; the first one of the table when None.
        term: which term; low_other or nckd when None.
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


def amplification_number(
    table: pd.DataFrame, loss: str | None = None, term: str | None = None
) -> str:
    """Median and 99th percentile of w_g / P_g, by temperature; a factor, no unit."""
    rows = _one_term(table, loss, term)
    return "; ".join(
        f"T = {t:g}: median {_factor(_quantile(part, 0.5))}, 99 % below "
        f"{_factor(_quantile(part, 0.99))}"
        for t, part in rows.groupby("temperature")
    )


def amplification_sentence(
    table: pd.DataFrame, loss: str | None = None, term: str | None = None
) -> str:
    """What to read: whether the lowest temperature has the longest tail.

    The tail is the 99th percentile over the median; a long one is above 10.
    """
    rows = _one_term(table, loss, term)
    cold, warm = rows.temperature.min(), rows.temperature.max()
    tails = {
        t: _quantile(part, 0.99) / _quantile(part, 0.5) for t, part in rows.groupby("temperature")
    }
    name = f"{rows.loss.iloc[0]} makes {rows.term.iloc[0]}"
    middle = _factor(_quantile(rows[rows.temperature == cold], 0.5))
    if np.isnan(tails[cold]):
        return f"{name} {middle} times as loud as plain KD at T = {cold:g} (median sample)."
    claim = f"at T = {cold:g} the 99th percentile is {tails[cold]:.3g} times the median"
    if cold == warm:
        return f"{name} {middle} times as loud as plain KD does (median sample); {claim}."
    claim += f", at T = {warm:g} {tails[warm]:.3g} times"
    if tails[cold] > 10 and tails[cold] > tails[warm]:
        return (
            f"{name} {middle} times as loud as plain KD at T = {cold:g} (median sample), with a "
            f"long tail: {claim}."
        )
    return f"These data do not show a long tail at T = {cold:g}: {claim}."


def _one_term(table: pd.DataFrame, loss: str | None, term: str | None) -> pd.DataFrame:
    require(table, "loss", "term", "temperature", "low", "high", "share", "count")
    rows = table[table.loss == loss] if loss else table
    rows = rows[rows.term == term] if term else rows[rows.term.isin(NON_TOP)]
    if rows.empty:
        have = sorted(set(zip(table.loss, table.term, strict=True)))
        raise ValueError(f"no rows for loss {loss!r} and term {term!r}, the table has {have}")
    first = rows.iloc[0]
    return rows[(rows.loss == first.loss) & (rows.term == first.term)].sort_values("low")


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
