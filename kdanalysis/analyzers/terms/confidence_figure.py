"""Figures of shares by teacher confidence (figure 3; DKD, equation 6)."""

import pandas as pd

from kdanalysis.draw.look import (
    CYCLE,
    MARKERS,
    NON_TOP,
    PAGE,
    Axes,
    new_axes,
    require,
    side_legend,
    state_left_out,
    styled,
)


@styled
def share_by_confidence(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the non-top relation gradient against the decile of teacher confidence.

    The numbers at the right end are the shares in the most confident tenth.

    Args:
        table: columns loss, term, decile, confidence, share, temperature, non_finite
            (``ShareByConfidence``); the rows of low_other and nckd are drawn.
        ax: axes to draw on; a new figure when None.
    """
    rows = _relations(table)
    ax = ax or new_axes(PAGE, 3.3)
    for i, ((loss, _), part) in enumerate(rows.groupby(["loss", "term"], sort=False)):
        last = part.share.iloc[-1]
        ax.plot(
            part.decile,
            100 * part.share,
            color=CYCLE[i % len(CYCLE)],
            marker=MARKERS[i % len(MARKERS)],
            label=f"{loss}: {100 * last:.0f} %",
        )
    confidence = rows.groupby("decile").confidence.first()
    labels = [f"{d}\n{short_confidence(value)}" for d, value in confidence.items()]
    ax.set_xticks(confidence.index, labels=labels)
    temperature = rows.temperature.iloc[0]
    ax.set_xlabel(
        f"tenth of the samples by teacher confidence\n"
        f"(below: its mean max p at T = {temperature:g}){state_left_out(table)}"
    )
    ax.set_ylabel("non-top share of the\ngradient norms (%)")
    ax.set_ylim(0, 100)
    side_legend(ax, "in the top tenth")
    return ax


def confidence_number(table: pd.DataFrame) -> str:
    """Non-top share in the least and in the most confident tenth, in percent, by loss."""
    ends = _ends(table)
    return "; ".join(
        f"{loss}: {first:.0%} to {last:.0%}" for (loss, _), (first, last) in ends.items()
    )


def confidence_sentence(table: pd.DataFrame) -> str:
    """What to read: in which losses the non-top share falls as the teacher grows confident.

    A fall to less than half counts as falling.
    """
    falls, stays = [], []
    for (loss, _), (first, last) in _ends(table).items():
        claim = f"{loss} ({first:.0%} to {last:.0%})"
        (falls if last < first / 2 else stays).append(claim)
    if falls and stays:
        return (
            f"From the least to the most confident tenth the non-top share falls in "
            f"{', '.join(falls)} and stays in {', '.join(stays)}."
        )
    if falls:
        return (
            f"The non-top share falls with confidence in every loss here: {', '.join(falls)}; "
            f"these data do not show one that keeps it."
        )
    return (
        f"No loss here loses half of its non-top share from the least to the most confident "
        f"tenth: {', '.join(stays)}."
    )


def _relations(table: pd.DataFrame) -> pd.DataFrame:
    require(table, "loss", "term", "decile", "confidence", "share", "temperature", number="share")
    rows = table[table.term.isin(NON_TOP) & table.share.notna()]
    if rows.empty:
        raise ValueError(f"the table has no shares of {NON_TOP}, got terms {set(table.term)}")
    return rows.sort_values("decile", kind="stable")


def _ends(table: pd.DataFrame) -> dict[tuple[str, str], tuple[float, float]]:
    """Share in the first and last decile that has samples, by (loss, term)."""
    groups = _relations(table).groupby(["loss", "term"], sort=False).share
    return {name: (share.iloc[0], share.iloc[-1]) for name, share in groups}


def short_confidence(confidence: float) -> str:
    """A confidence with the digits that tell it from 0 and 1: .52, .997, .003, ≈1."""
    rest = min(confidence, 1 - confidence)
    if rest >= 0.01:
        return f"{confidence:.2f}".lstrip("0")
    return f"{confidence:.3f}".lstrip("0") if rest >= 0.0005 else f"≈{confidence:.0f}"
