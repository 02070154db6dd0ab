"""Pictures of the sweep (figures 10 and 11): what k and the temperature do to the terms."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
import torch

from kdanalysis.analyzers.sweep.sweep import (
    TERMS,
    USUAL,
    TermSweep,
    balanced,
    check_table,
    inner,
    rows_at,
)
from kdanalysis.analyzers.teacher.mass import knees
from kdanalysis.core.wording import numeral
from kdanalysis.draw.axes import LOGARITHMIC, k_axis, log_axis
from kdanalysis.draw.colours import BLACK, DASHES, GREY, TEACHER, term_colour
from kdanalysis.draw.look import PAGE, Axes, Figure, new_panels, plain_log, side_legend
from kdanalysis.draw.tables import state_left_out


@TermSweep.picture("Norms, shares and cosines of the terms over k", panels=True)
def sweep_over_k(table: pd.DataFrame, temperature: float | int | None = None) -> Figure:
    """Three panels over k: norms of the terms; mass outside and relation share; cosines to KD.

    The relation share is that of low_other's gradient norm: inside plain KD, and with the weights
    of the sweep. The ends where a term is 0 by construction, low_top at k = 1 and low_other at
    c - 1, are left out, where there are others. Grey lines are the k to try, as :func:`ks_to_try`.

    Args:
        table: as ``TermSweep.table`` gives it.
        temperature: which one to draw; 4 where the table has it, else its middle one.
    """
    whole, chosen = _rows(table, "temperature", temperature)
    rows = whole if inner(whole).empty else inner(whole)
    figure, (norms, shares, cosines) = _panels(f"T = {chosen:g}")
    _lines(norms, rows, rows.k, {term: f"norm_{term}" for term in TERMS})
    plain_log(norms)
    norms.set_ylabel("gradient norm\n(unweighted, with T²)")
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
    _line(cosines, rows.k, rows.cosine_total_kd, "weighted total", BLACK, DASHES[1])
    cosines.set_ylabel("cosine to KD")
    out = " and ".join(str(k) for k in whole.k if k not in set(rows.k))
    ends = f"\n(without k = {out}, where a term is always 0)" if out else ""
    cosines.set_xlabel(f"k, the number of classes in the top group{ends}{state_left_out(table)}")
    _mark(figure.axes, ks_to_try(whole), "k")
    k_axis(cosines, rows.k, ks_to_try(whole))
    return figure


def ks_to_try(rows: pd.DataFrame) -> dict[int, str]:
    """The k to try at one temperature, and whose they are.

    They are the papers', the rule's (the knee of the mean top-k mass, as of the candidates), and
    that at which the smaller share of the two relation terms is largest.

    Args:
        rows: of one temperature, in order of k.
    """
    inside, found = inner(rows), {}
    if len(inside) < 2:
        return {}
    last = rows.iloc[-1]
    if last.norm_low_other == 0 and len(rows) == last.k:  # every k of all classes
        masses = torch.tensor([*rows.mass_top, 1.0], dtype=torch.float64)
        found["the rule's"] = int(knees(masses.unsqueeze(0)))
    found |= {"the papers'": USUAL["k"], "balanced shares": int(balanced(inside).k)}
    there = sorted(set(found.values()) & set(inside.k))
    return {k: ", ".join(name for name, one in found.items() if one == k) for k in there}


def _mark(axes: list[Axes], places: Mapping[float | int, str], name: str) -> None:
    """Draw a grey line at every place in all panels, told in the legend of the first."""
    for ax in axes:
        for (place, what), dash in zip(places.items(), cycle(DASHES[1:])):
            told = {"label": f"{name} = {numeral(place)}: {what}"} if ax is axes[0] else {}
            ax.axvline(place, color=GREY, linewidth=1, linestyle=dash, zorder=0, **told)
        side_legend(ax)


@TermSweep.picture("Norms, entropy and shares over the temperature", panels=True)
def sweep_over_temperature(
    table: pd.DataFrame, k: int | None = None, calibrated: float | None = None
) -> Figure:
    """Three panels over T: norms with and without T^2; the teacher's entropy; shares.

    Args:
        table: as ``TermSweep.table`` gives it.
        k: which one to draw; 5 where the table has it, else its middle one.
        calibrated: the T that calibrates the teacher, which gets a line, where it is known.
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
    plain_log(norms)
    norms.set_ylabel("gradient norm\n(unweighted, with T²)")
    _line(entropy, rows.temperature, rows.entropy, "teacher", TEACHER, DASHES[0], **marker)
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
    known = calibrated is not None and not np.isnan(calibrated)
    _mark(figure.axes, {calibrated: "calibrates"} if known else {}, "T")
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
