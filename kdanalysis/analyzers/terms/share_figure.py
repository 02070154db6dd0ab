"""Figures of gradient shares (figure 2): what part of each loss every term is."""

import pandas as pd

from kdanalysis.draw.look import (
    NON_TOP,
    PAGE,
    Axes,
    ink_on,
    new_axes,
    require,
    short,
    side_legend,
    state_left_out,
    styled,
    term_colour,
)

WRITTEN = 0.06  # narrower segments have no room for their number


@styled
def share_of_terms(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """One stacked bar a loss: the mean share of every term's gradient, in percent.

    Args:
        table: columns loss, term, share, non_finite (``TermShare``).
        ax: axes to draw on; a new figure when None.
    """
    require(table, "loss", "term", "share", number="share")
    losses = list(dict.fromkeys(table.loss))
    ax = ax or new_axes(PAGE, 0.9 + 0.42 * len(losses))
    start = dict.fromkeys(losses, 0.0)
    named = set()
    for row in table.itertuples():
        width = 0.0 if pd.isna(row.share) else 100 * row.share
        label = row.term if row.term not in named else None
        bar = ax.barh(
            losses.index(row.loss),
            width,
            left=start[row.loss],
            height=0.66,
            label=label,
            color=term_colour(row.term),
            edgecolor="white",
            linewidth=0.8,
        )
        if row.share >= WRITTEN:
            ax.bar_label(
                bar,
                [f"{width:.0f}"],
                label_type="center",
                color=ink_on(term_colour(row.term)),
                weight="bold",
            )
        start[row.loss] += width
        named.add(row.term)
    ax.set_yticks(range(len(losses)), labels=[short(x, 24) for x in losses], parse_math=False)
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.set_xlabel(
        "share of the summed gradient norms (%, mean over samples)" + state_left_out(table)
    )
    side_legend(ax)
    return ax


def share_number(table: pd.DataFrame) -> str:
    """Share of the non-top term in every loss that has one, in percent."""
    require(table, "loss", "term", "share", number="share")
    rows = table[table.term.isin(NON_TOP)]
    return "; ".join(f"{row.loss}: {row.term} {100 * row.share:.1f} %" for row in rows.itertuples())


def share_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the non-top share grows from the first loss with that term on.

    Put plain KD (``KDParts``) first: losses that share its term are held against it.
    """
    require(table, "loss", "term", "share", number="share")
    grown, other = [], []
    for term in NON_TOP:
        first, *rest = list(table[table.term == term].itertuples()) or [None]
        for row in rest:
            claim = (
                f"{term} from {first.share:.1%} in {first.loss} to {row.share:.1%} in {row.loss}"
            )
            (grown if row.share > first.share else other).append(claim)
    if not grown and not other:
        return "No two losses here share a non-top term, so its share cannot be compared."
    parts = []
    if grown:
        parts.append(f"The non-top share grows: {', '.join(grown)}.")
    if other:
        parts.append(f"Against the papers' argument it does not grow: {', '.join(other)}.")
    return " ".join(parts)
