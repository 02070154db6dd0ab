"""Figures of cancellation (figure 16): whether the cells of ambiguous images pull apart."""

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    BLUE,
    GREY,
    PAGE,
    VERMILION,
    Axes,
    Figure,
    new_panels,
    require,
    state_left_out,
    styled,
)

FEW = 10  # fewer images make no point of the line
CLEARLY = 1.96  # standard errors of a difference
PAIRS = (("clear", "ambiguous"), ("up to half", "more than half"))


@styled
def cancellation_by_ambiguity(table: pd.DataFrame) -> Figure:
    """Mean ratio of norms against the number of cells that differ, and how many images there are.

    A column a scale. The first point is the clear images, those without a differing cell; bars are
    95 % intervals of the mean, and values of fewer than 10 images are not drawn. The dotted line is
    1 / m, where cells of unrelated directions and equal norms would stand.

    Args:
        table: as ``RegionCancellation.table`` gives it.
    """
    require(table, "scale", "differing", "clear", "n", "ratio", "ratio_se", number="ratio")
    scales = table.scale.unique().tolist()
    figure, axes = new_panels(
        2,
        len(scales),
        figsize=(PAGE, 4.6),
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=(2.4, 1),
    )
    for place, (scale, (top, bottom)) in enumerate(zip(scales, axes.T, strict=True)):
        rows = table[table.scale == scale]
        _ratios(top, rows[rows.n >= FEW], scale)
        colours = np.where(rows.clear, BLUE, VERMILION)
        bottom.bar(rows.differing, 100 * rows.n / rows.n.sum(), color=colours, width=0.8)
        top.set_title(f"{scale} x {scale} cells", loc="left")
        if place == 0:
            top.set_ylabel("norm of the mean /\nmean of the norms")
            bottom.set_ylabel("images (%)")
    figure.supxlabel(
        f"cells in which the teacher's class is not that of the image{state_left_out(table)}",
        fontsize=10,
    )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    return figure


def cancellation_number(table: pd.DataFrame) -> str:
    """Mean ratio by ambiguity at every scale."""
    groups = by_ambiguity(table)
    return "; ".join(
        f"scale {row.scale}, {row.images}: {row.ratio:.3f} (n = {row.n:,})"
        for row in groups[groups.n > 0].itertuples()
    )


def cancellation_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the cells' gradients cancel more on ambiguous images than on clear.

    They do where the difference of the mean ratios exceeds 1.96 of its standard errors. Where
    fewer than 10 images are clear, those of which up to half of the cells differ are held against
    the others.
    """
    return " ".join(
        _verdict(scale, groups.set_index("images"))
        for scale, groups in by_ambiguity(table).groupby("scale", sort=False)
    )


def by_ambiguity(table: pd.DataFrame) -> pd.DataFrame:
    """Return scale, images, n, ratio and its standard error, for two ways to tell images apart.

    ``images`` is "clear" without a differing cell, else "ambiguous"; and "up to half" of the cells
    differing, else "more than half".
    """
    require(table, "scale", "differing", "clear", "n", "ratio", "ratio_se", number="ratio")
    rows = []
    for scale, each in table[table.n > 0].groupby("scale", sort=False):
        half = each.differing <= scale**2 / 2
        kinds = each.clear, ~each.clear, half, ~half
        names = (*PAIRS[0], *PAIRS[1])
        rows += [(scale, n, *_pooled(each[kind])) for n, kind in zip(names, kinds, strict=True)]
    return pd.DataFrame(rows, columns=["scale", "images", "n", "ratio", "ratio_se"])


def _verdict(scale: int, groups: pd.DataFrame) -> str:
    pairs = [pair for pair in PAIRS if groups.n[list(pair)].min() >= FEW]
    if not pairs:
        return f"At scale {scale} the images are too much alike, or too few, to be compared."
    clear, ambiguous = (groups.loc[name] for name in pairs[0])
    gap, error = clear.ratio - ambiguous.ratio, np.hypot(clear.ratio_se, ambiguous.ratio_se)
    told = ("ambiguous images", "clear ones")
    if pairs[0] == PAIRS[1]:
        told = ("images of which more than half of the cells differ", "the others")
    claim = (
        f"the mean keeps {ambiguous.ratio:.1%} of the cells' gradient norm on {told[0]}, "
        f"{clear.ratio:.1%} on {told[1]}"
    )
    if abs(gap) <= CLEARLY * error:
        return f"Scale {scale} does not show more cancellation where images are ambiguous: {claim}."
    more = "more" if gap > 0 else "less"
    return f"At scale {scale} the cells cancel {more} where images are ambiguous: {claim}."


def _pooled(rows: pd.DataFrame) -> tuple[int, float, float]:
    """Pool groups with their means and standard errors into one; NaN where there is nothing."""
    n = int(rows.n.sum())
    if n == 0:
        return 0, np.nan, np.nan
    mean = float((rows.n * rows.ratio).sum() / n)
    within = (rows.ratio_se.fillna(0.0) ** 2 * rows.n * (rows.n - 1)).sum()
    between = (rows.n * (rows.ratio - mean) ** 2).sum()
    error = float(np.sqrt((within + between) / (n - 1) / n)) if n > 1 else np.nan
    return n, mean, error


def _ratios(ax: Axes, rows: pd.DataFrame, scale: int) -> None:
    ax.plot(rows.differing, rows.ratio, color=GREY, linewidth=1, zorder=1)
    for clear, colour, label in ((True, BLUE, "clear images"), (False, VERMILION, "ambiguous")):
        some = rows[rows.clear == clear]
        ax.errorbar(
            some.differing,
            some.ratio,
            yerr=1.96 * some.ratio_se,
            fmt="o" if clear else "s",
            color=colour,
            label=label,
            elinewidth=1.2,
        )
    ax.axhline(1 / scale, color=GREY, linestyle=":", linewidth=1.2, label="unrelated cells: 1 / m")
    ax.set_ylim(0, 1.02)
