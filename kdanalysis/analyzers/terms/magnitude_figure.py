"""Figures of gradient magnitude (figure 1): how long every term's gradient is over training."""

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    DASHES,
    FAINT,
    MARKERS,
    NON_TOP,
    PAGE,
    Axes,
    new_axes,
    require,
    short,
    side_legend,
    state_left_out,
    styled,
    term_colour,
)


@styled
def magnitude_over_training(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean gradient norm of each term against the training step, with the inter-quartile band.

    Colour is the term, dash and marker are the loss; the number in the legend is the mean norm at
    the last step. Epochs, where known, stand above the axes at their first captured step. Norms
    of 0 have no place on the logarithmic axis and leave a gap.

    Args:
        table: columns loss, term, step, epoch, mean, q25, q75, non_finite (``TermMagnitude``).
        ax: axes to draw on; a new figure when None.
    """
    require(table, "loss", "term", "step", "mean", "q25", "q75", number="mean")
    ax = ax or new_axes(PAGE, 3.4)
    losses = list(dict.fromkeys(table.loss))
    alpha = 0.13 if table.groupby(["loss", "term"]).ngroups <= 6 else 0.06
    for (loss, term), rows in table.groupby(["loss", "term"], sort=False):
        place = losses.index(loss)
        _draw_term(ax, rows, place, term if term == loss else f"{loss}: {term}", alpha)
    ax.set_yscale("log")
    ax.set_xlabel("training step" + state_left_out(table))
    ax.set_ylabel("gradient norm per sample\n(mean; band: middle half)")
    _mark_epochs(ax, table)
    side_legend(ax, "last mean")
    return ax


@styled
def magnitude_of_terms(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean gradient norm of every term, grouped by loss, with the line of the middle half.

    Args:
        table: columns loss, term, mean, q25, q75, non_finite of a single step (``TermMagnitude``).
        ax: axes to draw on; a new figure when None.
    """
    require(table, "loss", "term", "mean", "q25", "q75", number="mean")
    losses = list(dict.fromkeys(table.loss))
    ax = ax or new_axes(PAGE, 0.9 + 0.22 * len(table) + 0.12 * len(losses))
    places, texts = [], []
    for row, place in zip(table.itertuples(), _places(table), strict=True):
        colour = term_colour(row.term)
        if row.q75 > 0:
            ax.plot([row.q25 or np.nan, row.q75], [place] * 2, color=colour, linewidth=2.5)
        if row.mean > 0:
            ax.plot(row.mean, place, marker="o", markersize=6, color=colour, linestyle="none")
        places.append(place)
        name = short(row.loss, 20)
        texts.append(row.term if row.term == row.loss else f"{name}: {row.term}")
    ax.set_yticks(places, labels=texts, parse_math=False)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.grid(axis="x", color=FAINT, linewidth=0.5)
    ax.set_xlabel("gradient norm per sample (mean; line: middle half)" + state_left_out(table))
    return ax


def magnitude_number(table: pd.DataFrame) -> str:
    """Mean norm over all steps of the non-top term in every loss that has it; no unit."""
    means = _non_top_means(table)
    if means.empty:
        return ""
    return "; ".join(f"{loss}: {term} {value:.3g}" for (loss, term), value in means.items())


def magnitude_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the non-top term, large by itself, is small as another loss weighs it.

    The losses that share the term are compared: the one in which it is longest with the one in
    which it is shortest.
    """
    means = _non_top_means(table)
    for term in NON_TOP:
        part = means[means.index.get_level_values("term") == term].droplevel("term").dropna()
        if len(part) < 2 or part.max() == 0:
            continue
        loud, quiet = part.idxmax(), part.idxmin()
        ratio = part[loud] / part[quiet] if part[quiet] > 0 else np.inf
        claim = f"{term} is {ratio:.3g} times as long in {loud} as in {quiet}"
        if ratio >= 2:
            return f"The non-top relations are large by themselves and small in {quiet}: {claim}."
        return f"These data do not show the non-top relations drowned in {quiet}: {claim}."
    return _alone(table)


def _alone(table: pd.DataFrame) -> str:
    """The sentence where no two losses share a non-top term: it is held against its loss's own."""
    parts = []
    means = _means(table)
    for (loss, term), value in _non_top_means(table).items():
        others = means[loss].drop(term)
        if len(others):
            parts.append(
                f"{term} {value:.3g} against {others.idxmax()} {others.max():.3g} in {loss}"
            )
    if not parts:
        return "No loss here has a non-top term (low_other or nckd) beside others to compare."
    return (
        f"No two losses here share a non-top term, so these data cannot show it small inside KD; "
        f"its mean norm and the largest one beside it: {', '.join(parts)}."
    )


def _places(table: pd.DataFrame) -> np.ndarray:
    """One place a row, with a gap before every other loss."""
    new = table.loss.ne(table.loss.shift())
    return np.arange(len(table)) + 0.6 * new.cumsum().to_numpy()


def _draw_term(ax: Axes, rows: pd.DataFrame, place: int, label: str, alpha: float) -> None:
    rows = rows.sort_values("step")
    colour = term_colour(rows.term.iloc[0])
    mean = rows["mean"].where(rows["mean"] > 0)
    marker = MARKERS[place % len(MARKERS)] if len(rows) <= 40 else None
    ax.fill_between(
        rows.step,
        rows.q25.where(rows.q25 > 0).to_numpy(),
        rows.q75.where(rows.q75 > 0).to_numpy(),
        color=colour,
        alpha=alpha,
        linewidth=0,
    )
    ax.plot(
        rows.step,
        mean,
        color=colour,
        linestyle=DASHES[place % len(DASHES)],
        marker=marker,
        # Losses may agree in a term: rings of the first one stay visible around the others.
        markersize=8 if place == 0 else 4,
        markerfacecolor="none" if place == 0 else colour,
        label=f"{label}  {rows['mean'].iloc[-1]:.2g}",
    )


def _mark_epochs(ax: Axes, table: pd.DataFrame) -> None:
    """Write the epochs above the axes, at most ten of them."""
    if "epoch" not in table or table.epoch.isna().any() or table.epoch.nunique() < 2:
        return
    first = table.groupby("epoch").step.min()
    first = first.iloc[:: -(-len(first) // 10)]
    top = ax.secondary_xaxis("top")
    top.set_xticks(first.to_numpy(), labels=[str(epoch) for epoch in first.index])
    top.set_xlabel("epoch (at its first captured step)")


def _non_top_means(table: pd.DataFrame) -> pd.Series:
    means = _means(table)
    return means[means.index.get_level_values("term").isin(NON_TOP)]


def _means(table: pd.DataFrame) -> pd.Series:
    """Mean norm over all samples of all steps, by (loss, term)."""
    require(table, "loss", "term", "mean", "n", number="mean")
    rows = table.assign(total=table["mean"] * table.n)
    sums = rows.groupby(["loss", "term"], sort=False)[["total", "n"]].sum()
    return sums.total / sums.n
