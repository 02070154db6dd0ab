"""Figures of NCKD by confidence (figure 6; DKD, table 5): which samples the term teaches with."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.terms.confidence_figure import short_confidence
from kdanalysis.draw.look import (
    DASHES,
    FAINT,
    GREY,
    PAGE,
    Axes,
    Figure,
    new_panels,
    require,
    side_legend,
    state_left_out,
    styled,
    term_colour,
)

QUANTITIES = {"value": "value (nats)", "norm": "gradient norm"}
CARRIES = 0.55  # of the whole, in half of the samples


@styled
def nckd_by_confidence(table: pd.DataFrame) -> Figure:
    """Mean value and gradient norm of nckd by tenth of the samples, alone and inside plain KD.

    The shade is the surer half of the samples; the legend says which part of the whole it
    holds.

    Args:
        table: as ``NCKDByConfidence.table`` gives it.
    """
    rows = _rows(table, "tenth")
    figure, axes = new_panels(2, 1, figsize=(PAGE, 4.8), sharex=True)
    shares = half_shares(table)
    for ax, (quantity, label) in zip(axes, QUANTITIES.items(), strict=True):
        for prefix, name, colour, dash, marker in (
            ("", "nckd", term_colour("nckd"), DASHES[0], "o"),
            ("kd_", "inside KD", term_colour("kd"), DASHES[1], "s"),
        ):
            share = shares[prefix + quantity]
            text = name if np.isnan(share) else f"{name}: {share:.0%}"
            look = {"color": colour, "linestyle": dash, "marker": marker}
            ax.plot(rows.place, rows[prefix + quantity], label=text, **look)
        _shade(ax)
        ax.set_ylabel(f"mean {label}")
        ax.set_ylim(0, 1.08 * ax.get_ylim()[1])
        side_legend(ax, "in the surer half (grey)")
    labels = [
        f"{p}\n{short_confidence(c)}" for p, c in zip(rows.place, rows.confidence, strict=True)
    ]
    axes[-1].set_xticks(rows.place, labels=labels)
    temperature = rows.temperature.iloc[0]
    axes[-1].set_xlabel(
        "tenth of the samples by the teacher's probability of the label\n"
        f"(below: its mean at T = 1; nckd at T = {temperature:g}, T² included)"
        f"{state_left_out(table)}"
    )
    return figure


def nckd_number(table: pd.DataFrame) -> str:
    """Part of the whole that the surer half holds, of value and norm, alone and inside KD."""
    shares = half_shares(table)
    if np.isnan(shares["norm"]):
        return "nckd is 0 for every sample"
    return (
        f"surer half: {shares['value']:.1%} of the value, {shares['norm']:.1%} of the norm of "
        f"nckd; inside KD {shares['kd_value']:.1%} and {shares['kd_norm']:.1%}"
    )


def nckd_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the surer half of the samples carries nckd.

    It does where that half holds at least 55 % of both the summed value and the summed gradient
    norm.
    """
    shares = half_shares(table)
    if np.isnan(shares["norm"]):
        return (
            "nckd is 0 for every sample: two classes have no relations among the others, or the "
            "student equals its teacher."
        )
    claim = (
        f"the samples above a probability of {_border(table):.2g} of the label hold "
        f"{shares['value']:.0%} of its value and {shares['norm']:.0%} of its gradient norm; inside "
        f"KD, which scales it by 1 - p, {shares['kd_value']:.0%} and {shares['kd_norm']:.0%}"
    )
    if min(shares["value"], shares["norm"]) >= CARRIES:
        return f"The surer half of the samples carries nckd: {claim}."
    return f"These data do not show the surer half of the samples carrying nckd: {claim}."


def half_shares(table: pd.DataFrame) -> dict[str, float]:
    """Part of the sum over all samples that the surer half holds, NaN where the sum is 0."""
    rows = _rows(table, "half")
    shares = {}
    for column in (prefix + quantity for prefix in ("", "kd_") for quantity in QUANTITIES):
        sums = (rows[column] * rows.n).to_numpy()
        sure = sums[rows.place.to_numpy() == 2].sum()
        shares[column] = float(sure / sums.sum()) if sums.sum() > 0 else float("nan")
    return shares


def _rows(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """The parts of one kind that have samples."""
    columns = [prefix + quantity for prefix in ("", "kd_") for quantity in QUANTITIES]
    require(table, "part", "place", "lowest", "confidence", *columns, "n", number="value")
    return table[(table.part == part) & (table.n > 0)]


def _border(table: pd.DataFrame) -> float:
    halves = table[(table.part == "half") & (table.place == 2)]
    return float(halves.lowest.iloc[0])


def _shade(ax: Axes) -> None:
    ax.axvspan(5.5, 10.4, color=FAINT, alpha=0.25, linewidth=0, zorder=0)
    ax.axvline(5.5, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xlim(0.6, 10.4)
