"""Figures of the sweep (figures 10 and 11): what k and the temperature do to the terms."""

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    DASHES,
    GREY,
    INK,
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

TERMS = ("high", "low_top", "low_other", "kd")
USUAL_T, USUAL_K = 4.0, 5  # the papers' settings
LOGARITHMIC = 20  # more k than this are laid out on a logarithmic axis
KEPT = 3.0  # a scale that changes by less than this factor is kept


@styled
def sweep_over_k(table: pd.DataFrame, temperature: float | int | None = None) -> Figure:
    """Three panels over k: norms of the terms; mass outside and relation share; cosines to KD.

    The relation share is that of low_other's gradient norm: inside plain KD, and with the weights
    of the sweep.

    Args:
        table: as ``TermSweep.table`` gives it.
        temperature: which one to draw; 4 where the table has it, else its middle one.
    """
    rows, chosen = _at(table, "temperature", temperature, USUAL_T)
    figure, (norms, shares, cosines) = _panels(f"T = {chosen:g}")
    _lines(norms, rows, rows.k, {term: f"norm_{term}" for term in TERMS})
    norms.set_yscale("log")
    norms.set_ylabel("gradient norm\n(unweighted)")
    for column, label, colour, dash in (
        ("mass_other", "mass outside the top k", GREY, DASHES[2]),
        ("kd_share_low_other", "relation share in KD", term_colour("kd"), DASHES[0]),
        ("share_low_other", "... as weighted here", term_colour("low_other"), DASHES[1]),
    ):
        _line(shares, rows.k, 100 * rows[column], label, colour, dash)
    shares.set_ylabel("mass, share (%)")
    shares.set_ylim(-2, 102)
    _lines(cosines, rows, rows.k, {term: f"cosine_{term}_kd" for term in TERMS[:-1]})
    _line(cosines, rows.k, rows.cosine_total_kd, "weighted total", INK, DASHES[1])
    cosines.set_ylabel("cosine to KD")
    cosines.set_xlabel("k, the number of classes in the top group" + state_left_out(table))
    lay_out_k(cosines, rows.k)
    for ax in (norms, shares, cosines):
        side_legend(ax)
    return figure


@styled
def sweep_over_temperature(table: pd.DataFrame, k: int | None = None) -> Figure:
    """Three panels over T: norms with and without T^2; the teacher's entropy; shares.

    Args:
        table: as ``TermSweep.table`` gives it.
        k: which one to draw; 5 where the table has it, else its middle one.
    """
    rows, chosen = _at(table, "k", k, USUAL_K)
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
    _lay_out_temperature(shares, rows.temperature)
    for ax in (norms, entropy, shares):
        side_legend(ax)
    return figure


def sweep_number(table: pd.DataFrame) -> str:
    """Where both relation terms speak best, by T; and the factors of the norm of kd over T."""
    require(table, "temperature", "k", *_SHARES, "norm_kd", number="norm_kd")
    parts = []
    for temperature, rows in table.groupby("temperature"):
        best = _balanced(rows)
        parts.append(
            f"T = {temperature:g}: k = {best.k:.0f} (low_top {best.share_low_top:.0%}, "
            f"low_other {best.share_low_other:.0%})"
        )
    kept, bare = _factors(table)
    if kept is not None:
        parts.append(f"norm of kd over T: factor {kept:.3g}, without T² {bare:.3g}")
    return "; ".join(parts)


def sweep_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the extremes of k lose a term, and whether T^2 keeps the scale."""
    rows, temperature = _at(table, "temperature", None, USUAL_T)
    return f"{_k_sentence(rows, temperature)} {_temperature_sentence(table)}".strip()


_SHARES = ("share_low_top", "share_low_other")


def _k_sentence(rows: pd.DataFrame, temperature: float) -> str:
    """Both relation terms speak where the smaller of their shares is largest."""
    if len(rows) < 3:
        return f"{len(rows)} k cannot show what its extremes do."
    best = _balanced(rows)
    ends = rows.iloc[[0, -1]]
    claim = (
        f"at T = {temperature:g} the smaller of the weighted shares of low_top and low_other is "
        f"largest at k = {best.k:.0f} ({_smaller(best):.0%}), against "
        + " and ".join(f"{_smaller(row):.0%} at k = {row.k:.0f}" for _, row in ends.iterrows())
    )
    if best.k in ends.k.to_numpy():
        return f"These data do not show the extremes of k degrade: {claim}."
    return f"The extremes of k silence one of the two relation terms: {claim}."


def _temperature_sentence(table: pd.DataFrame) -> str:
    kept, bare = _factors(table)
    if kept is None:
        return ""
    ladder = table.temperature
    claim = (
        f"from T = {ladder.min():g} to {ladder.max():g} the norm of kd changes by a factor of "
        f"{kept:.3g}, without T² by {bare:.3g}"
    )
    change = abs(np.log(kept))
    if change < np.log(KEPT) and change < abs(np.log(bare)):
        return f"T² keeps the gradient's scale: {claim}."
    return f"These data do not show T² keeping the gradient's scale: {claim}."


def _factors(table: pd.DataFrame) -> tuple[float | None, float | None]:
    """Norm of kd at the highest temperature over that at the lowest, with and without T^2."""
    norm = table.groupby("temperature").norm_kd.first()
    if len(norm) < 2 or not norm.iloc[0] > 0 or not norm.iloc[-1] > 0:
        return None, None
    kept = norm.iloc[-1] / norm.iloc[0]
    return kept, kept * (norm.index[0] / norm.index[-1]) ** 2


def _smaller(row: pd.Series) -> float:
    return min(row.share_low_top, row.share_low_other)


def _balanced(rows: pd.DataFrame) -> pd.Series:
    """The row whose smaller share of the two relation terms is largest."""
    smaller = rows[list(_SHARES)].min(axis=1)
    if smaller.isna().all():
        raise ValueError("the table has no shares: every gradient is zero")
    return rows.loc[smaller.idxmax()]


def _at(
    table: pd.DataFrame, column: str, wanted: float | int | None, usual: float | int
) -> tuple[pd.DataFrame, float | int]:
    """Rows of one temperature or one k, in order of the other."""
    other = "k" if column == "temperature" else "temperature"
    require(table, column, other, *_SHARES, *(f"norm_{t}" for t in TERMS), number="norm_kd")
    there = sorted(table[column].unique().tolist())
    chosen = wanted
    if wanted is None:
        chosen = usual if usual in there else there[len(there) // 2]
    if chosen not in there:
        raise ValueError(f"the table has no {column} {wanted}, it has {there}")
    return table[table[column] == chosen].sort_values(other), chosen


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


def lay_out_k(ax: Axes, ks: pd.Series) -> None:
    """Ticks at the k where they are few and small; else a logarithmic axis."""
    if len(ks) <= LOGARITHMIC and ks.max() <= 2 * LOGARITHMIC:
        ax.set_xticks(ks.to_numpy())
        return
    ax.set_xscale("log")
    last = int(ks.max())
    marks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if k < 0.7 * last]
    _ticks(ax, [*marks, last], "{x:.0f}")


def _lay_out_temperature(ax: Axes, ladder: pd.Series) -> None:
    ax.set_xscale("log")
    _ticks(ax, ladder.tolist(), "{x:g}")


def _ticks(ax: Axes, places: list, text: str) -> None:
    ax.set_xticks(places)
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter(text)
