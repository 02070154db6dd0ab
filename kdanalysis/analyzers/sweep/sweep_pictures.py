"""Pictures of the sweep (figures 10 and 11): what k and the temperature do to the terms."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.sweep.sweep import TERMS, USUAL, TermSweep, check_table, rows_at
from kdanalysis.draw.axes import LOGARITHMIC, k_axis, log_axis
from kdanalysis.draw.look import (
    DASHES,
    GREY,
    INK,
    PAGE,
    Axes,
    Figure,
    new_panels,
    side_legend,
    state_left_out,
    term_colour,
)


@TermSweep.picture("Norms, shares and cosines of the terms over k", panels=True)
def sweep_over_k(table: pd.DataFrame, temperature: float | int | None = None) -> Figure:
    """Three panels over k: norms of the terms; mass outside and relation share; cosines to KD.

    The relation share is that of low_other's gradient norm: inside plain KD, and with the weights
    of the sweep. A term that is 0 by construction, low_top at k = 1 and low_other at c - 1, is a
    gap. The dotted line is the papers' k.

    Args:
        table: as ``TermSweep.table`` gives it.
        temperature: which one to draw; 4 where the table has it, else its middle one.
    """
    rows, chosen = _rows(table, "temperature", temperature)
    figure, (norms, shares, cosines) = _panels(f"T = {chosen:g}")
    _lines(norms, rows, rows.k, {term: f"norm_{term}" for term in TERMS})
    norms.set_yscale("log")
    norms.set_ylabel("gradient norm\n(unweighted)")
    for column, label, colour, dash in (
        ("mass_other", "mass outside the top k", GREY, DASHES[2]),
        ("kd_share_low_other", "relation share in KD", term_colour("kd"), DASHES[0]),
        ("share_low_other", "... as weighted here", term_colour("low_other"), DASHES[1]),
    ):
        there = rows.norm_low_other > 0 if column != "mass_other" else rows.k > 0
        _line(shares, rows.k, 100 * rows[column].where(there), label, colour, dash)
    shares.set_ylabel("mass, share (%)")
    shares.set_ylim(-2, 102)
    _lines(cosines, rows, rows.k, {term: f"cosine_{term}_kd" for term in TERMS[:-1]})
    _line(cosines, rows.k, rows.cosine_total_kd, "weighted total", INK, DASHES[1])
    cosines.set_ylabel("cosine to KD")
    cosines.set_xlabel("k, the number of classes in the top group" + state_left_out(table))
    k_axis(cosines, rows.k)
    for ax in (norms, shares, cosines):
        if rows.k.min() < USUAL["k"] < rows.k.max():
            ax.axvline(USUAL["k"], color=GREY, linewidth=1, linestyle=DASHES[2], zorder=0)
        side_legend(ax)
    return figure


@TermSweep.picture("Norms, entropy and shares over the temperature", panels=True)
def sweep_over_temperature(table: pd.DataFrame, k: int | None = None) -> Figure:
    """Three panels over T: norms with and without T^2; the teacher's entropy; shares.

    Args:
        table: as ``TermSweep.table`` gives it.
        k: which one to draw; 5 where the table has it, else its middle one.
    """
    rows, chosen = _rows(table, "k", k)
    figure, (norms, entropy, shares) = _panels(f"k = {chosen}")
    marker = {"marker": "o"}
    _lines(norms, rows, rows.temperature, {term: f"norm_{term}" for term in TERMS}, **marker)
    for term in TERMS:
        bare = rows[f"norm_{term}"] / rows.temperature**2
        norms.plot(
            rows.temperature, _drawn(bare), color=term_colour(term), linestyle=DASHES[2], **marker
        )
    norms.plot([], [], color=GREY, linestyle=DASHES[2], label="without T²")
    norms.set_yscale("log")
    norms.set_ylabel("gradient norm\n(T² included)")
    _line(entropy, rows.temperature, rows.entropy, "teacher", GREY, DASHES[0], **marker)
    entropy.set_ylabel("entropy (nats)")
    entropy.set_ylim(0)
    for term in TERMS[:-1]:
        colour = term_colour(term)
        for kind, dash, name in (("kd_share", "-", term), ("share", DASHES[1], None)):
            values = 100 * rows[f"{kind}_{term}"]
            shares.plot(
                rows.temperature, values, color=colour, linestyle=dash, label=name, **marker
            )
    shares.plot([], [], color=GREY, label="inside KD")
    shares.plot([], [], color=GREY, linestyle=DASHES[1], label="as weighted here")
    shares.set_ylabel("share of the\nnorms (%)")
    shares.set_ylim(-2, 102)
    shares.set_xlabel("temperature T" + state_left_out(table))
    log_axis(shares, rows.temperature.tolist())
    for ax in (norms, entropy, shares):
        side_legend(ax)
    return figure


def _rows(
    table: pd.DataFrame, column: str, wanted: float | int | None
) -> tuple[pd.DataFrame, float | int]:
    """Rows of one temperature or one k, in order of the other."""
    check_table(table)
    rows, chosen = rows_at(table, column, wanted)
    return rows.sort_values("k" if column == "temperature" else "temperature"), chosen


def _panels(title: str) -> tuple[Figure, np.ndarray]:
    figure, axes = new_panels(3, 1, figsize=(PAGE, 6.6), sharex=True, height_ratios=(1.3, 1, 1))
    axes[0].set_title(title, loc="left")
    return figure, axes


def _lines(
    ax: Axes, rows: pd.DataFrame, x: pd.Series, columns: dict[str, str], **look: object
) -> None:
    for term, column in columns.items():
        log = column.startswith("norm")
        values = _drawn(rows[column]) if log else rows[column]
        dash = DASHES[1] if term == "kd" and not look else DASHES[0]  # others stay visible below
        _line(ax, x, values, term, term_colour(term), dash, **look)


def _line(
    ax: Axes, x: pd.Series, y: pd.Series, label: str, colour: str, dash: object, **look: object
) -> None:
    look = {"marker": "o" if len(x) <= LOGARITHMIC else None} | look
    ax.plot(x, y, color=colour, linestyle=dash, label=label, **look)


def _drawn(norms: pd.Series) -> pd.Series:
    """Norms of 0 have no place on a logarithmic axis: a gap."""
    return norms.where(norms > 0)
