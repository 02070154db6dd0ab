"""Figures of the sweep's spread: the same quantities for unsure and for confident teachers."""

import pandas as pd

from kdanalysis.analyzers.sweep.sweep_figure import USUAL_K, USUAL_T, lay_out_k
from kdanalysis.draw.look import (
    DASHES,
    PAGE,
    Figure,
    ladder_colours,
    new_panels,
    require,
    side_legend,
    state_left_out,
    styled,
)

FEW = 20  # samples of a group that a curve needs
QUANTITIES = {
    "kd_share_low_other": "relation share\nin KD (%)",
    "share_low_other": "relation share\nas weighted (%)",
    "cosine_total_kd": "cosine of the\ntotal to KD",
}


@styled
def spread_over_k(table: pd.DataFrame, temperature: float | int | None = None) -> Figure:
    """Three panels over k, one curve a group of confidence: both relation shares, and the cosine.

    Curves are medians, bands the middle half of a group's samples. Groups of fewer than 20 samples
    are left out, and named in the axis label.

    Args:
        table: as ``SweepSpread.table`` gives it.
        temperature: which one to draw; 4 where the table has it, else its middle one.
    """
    rows, chosen = at_temperature(table, temperature)
    groups = [g for g in rows.confidence.unique() if g != "all"]
    drawn = [g for g in groups if _samples(rows, g) >= FEW]
    colours = dict(zip(groups, ladder_colours(range(len(groups))).values(), strict=True))
    figure, axes = new_panels(3, 1, figsize=(PAGE, 6.0), sharex=True)
    axes[0].set_title(f"T = {chosen:g}", loc="left")
    for ax, (quantity, label) in zip(axes, QUANTITIES.items(), strict=True):
        scale = 100 if "share" in quantity else 1
        for place, group in enumerate(drawn):
            part = rows[(rows.quantity == quantity) & (rows.confidence == group)].sort_values("k")
            dash = DASHES[place % len(DASHES)]
            colour, name = colours[group], f"{group} (n = {_samples(rows, group):,})"
            ax.fill_between(
                part.k, scale * part.q25, scale * part.q75, color=colour, alpha=0.15, linewidth=0
            )
            ax.plot(
                part.k, scale * part["median"], color=colour, linestyle=dash, label=name, marker="o"
            )
        ax.set_ylabel(label)
        lowest = min([0.0, *rows.q25[rows.quantity == quantity].dropna()])
        ax.set_ylim(1.02 * scale * lowest - 0.02 * scale, 1.02 * scale)
    side_legend(axes[0], "teacher's max p at T = 1")
    axes[-1].set_xlabel(
        "k, the number of classes in the top group"
        + _said_of([group for group in groups if group not in drawn])
        + state_left_out(table)
    )
    lay_out_k(axes[-1], rows.k.drop_duplicates())
    return figure


def spread_number(table: pd.DataFrame) -> str:
    """Median relation share in KD, and as weighted, by group of confidence at one T and k."""
    rows, temperature = at_temperature(table, None)
    k = _usual_k(rows)
    parts = []
    for group in rows.confidence.unique():
        if _samples(rows, group):
            kd, weighted = (_median(rows, q, group, k) for q in list(QUANTITIES)[:2])
            parts.append(f"{group}: {kd:.0%} in KD, {weighted:.0%} as weighted")
    return f"T = {temperature:g}, k = {k}: " + "; ".join(parts)


def spread_sentence(table: pd.DataFrame) -> str:
    """Whether KD's relation share falls from the least to the most confident samples."""
    rows, temperature = at_temperature(table, None)
    k = _usual_k(rows)
    groups = [g for g in rows.confidence.unique() if g != "all" and _samples(rows, g) >= FEW]
    if len(groups) < 2:
        return "These samples are of one group of confidence: nothing to compare."
    ends = [groups[0], groups[-1]]
    kd, weighted = (
        [_median(rows, quantity, group, k) for group in ends] for quantity in list(QUANTITIES)[:2]
    )
    claim = (
        f"at T = {temperature:g} and k = {k} its median inside KD goes from {kd[0]:.0%} "
        f"({ends[0]}) to {kd[1]:.0%} ({ends[1]}), as weighted from {weighted[0]:.0%} to "
        f"{weighted[1]:.0%}"
    )
    if kd[1] < kd[0]:
        return f"The relation share inside KD falls with the teacher's confidence: {claim}."
    return f"These data do not show KD's relation share falling with confidence: {claim}."


def at_temperature(
    table: pd.DataFrame, wanted: float | int | None
) -> tuple[pd.DataFrame, float | int]:
    """Rows of one temperature, and which it is."""
    require(table, "temperature", "k", "confidence", "quantity", "median", number="median")
    there = sorted(table.temperature.unique().tolist())
    chosen = wanted
    if wanted is None:
        chosen = USUAL_T if USUAL_T in there else there[len(there) // 2]
    if chosen not in there:
        raise ValueError(f"the table has no temperature {wanted}, it has {there}")
    rows = table[table.temperature == chosen]
    shares = rows[rows.quantity.isin(list(QUANTITIES)[:2])]
    if not shares["median"].max() > 0:
        raise ValueError("no sample has a gradient of low_other, as with two classes")
    if rows.n[rows.confidence != "all"].max() < FEW:
        raise ValueError(f"no group of confidence has {FEW} samples")
    return rows, chosen


def _usual_k(rows: pd.DataFrame) -> int:
    there = sorted(rows.k.unique().tolist())
    return USUAL_K if USUAL_K in there else there[len(there) // 2]


def _samples(rows: pd.DataFrame, group: str) -> int:
    return int(rows.n[rows.confidence == group].max())


def _median(rows: pd.DataFrame, quantity: str, group: str, k: int) -> float:
    found = rows[(rows.quantity == quantity) & (rows.confidence == group) & (rows.k == k)]
    return float(found["median"].iloc[0])


def _said_of(groups: list[str]) -> str:
    """Second line of a label: which groups are too small to draw."""
    return f"\n(fewer than {FEW} samples, not drawn: {', '.join(groups)})" if groups else ""
