"""Pictures of suppression (figure 5): how near to 0 a teacher's 1 - p is."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from kdanalysis.analyzers.teacher.suppression import (
    Suppression,
    comparable,
    digits,
    join_teachers,
    prefix,
)
from kdanalysis.draw.look import (
    CYCLE,
    DASHES,
    PAGE,
    Axes,
    Figure,
    side_legend,
    state_left_out,
)
from kdanalysis.draw.panels import panel_grid

CAPTION = "1 - p, KD's factor on the non-target term"
MOST_BINS = 40
LOW, HIGH = -13.8, 9.2  # log odds of 1e-6 and .9999; what lies beyond is in the outermost bins
MARKS = (0.5, 0.1, 0.9, 0.01, 0.99, 1e-3, 0.999, 1e-4, 0.9999, 1e-5, 1e-6, 0.2, 0.8, 0.3, 0.7)


@Suppression.picture(CAPTION, panels=True)
def suppression_by_teacher(table: pd.DataFrame) -> Figure:
    """Histogram of 1 - p, a panel a temperature, a curve a teacher; triangles mark the means.

    The axis is even in the log odds of 1 - p, so that .001 and .01 are as far apart as .99 and
    .999; samples below 1e-6 and above .9999 are in the outermost bins. Neighbouring bins are
    joined, to as many as Rice's rule 2 n^(1/3) wants, at most 40.

    Args:
        table: as ``Suppression.table`` gives it; with several teachers a column ``name`` tells
            them apart (``join_teachers``). p is the label's, where all teachers have labels.
    """
    rows, what = comparable(table)
    edges = _edges(rows)
    ladder = sorted(rows.temperature.unique())
    figure, axes = panel_grid(len(ladder), 1, PAGE, 1.7, 0.8, sharey=False)
    for ax, temperature in zip(axes, ladder, strict=True):
        of_t = rows[rows.temperature == temperature]
        for place, (name, part) in enumerate(of_t.groupby("name", sort=False)):
            _draw(ax, part, edges, str(name), place)
        ax.set_title(f"T = {temperature:g}", loc="left")
        ax.set_ylim(0)
        side_legend(ax, "mean (triangle)")
    figure.supylabel(f"samples (% per {edges[1] - edges[0]:.2g} nats of log odds)", fontsize=10)
    axes[-1].set_xlabel(f"1 - p {what}{_beyond(rows)}{state_left_out(table)}")
    _lay_out(axes[-1], edges)
    return figure


@Suppression.picture(CAPTION, of_all=True, panels=True)
def suppression_of_teachers(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The same figure for several teachers, by name."""
    return suppression_by_teacher(join_teachers(tables))


def _edges(rows: pd.DataFrame) -> np.ndarray:
    """Common edges of joined bins in nats of log odds, inside the window."""
    width = (rows.high - rows.low).replace(np.inf, np.nan).median()
    low = min(max(LOW, rows.low.min()), HIGH - width)
    high = max(min(HIGH, rows.high.max()), low + width)
    count = round((high - low) / width)
    wanted = min(MOST_BINS, max(int(2 * rows.n.max() ** (1 / 3)), 1))
    join = -(-count // wanted)
    return low + width * join * np.arange(-(-count // join) + 1)


def _beyond(rows: pd.DataFrame) -> str:
    """Second line for the axis label that says how much the outermost bins hold besides."""
    below = rows["count"][rows.high < LOW + 0.01].sum()
    above = rows["count"][rows.low > HIGH - 0.01].sum()
    parts = [f"{below:,} values below 1e-6"] * bool(below)
    parts += [f"{above:,} above .9999"] * bool(above)
    return f"\n({' and '.join(parts)} are in the outermost bins)" if parts else ""


def _odds(share: float) -> float:
    """Log odds; those of 0 and 1 as far out as floats go."""
    share = min(max(share, 1e-300), 1 - 1e-16)
    return float(np.log(share) - np.log1p(-share))


def _draw(ax: Axes, part: pd.DataFrame, edges: np.ndarray, name: str, place: int) -> None:
    middle = np.clip((part.low + part.high) / 2, edges[0], edges[-1])
    height = np.histogram(middle, edges, weights=100 * part.share)[0]
    filled = np.flatnonzero(height)
    first, last = filled[0], filled[-1]
    mean = part["mean"].iloc[0]
    look = {"color": CYCLE[place % len(CYCLE)]}
    ax.stairs(
        height[first : last + 1],
        edges[first : last + 2],
        linewidth=1.8,
        linestyle=DASHES[place % len(DASHES)],
        label=f"{prefix(name)}{digits(mean)}",
        **look,
    )
    spot = np.clip(_odds(mean), edges[0], edges[-1])
    ax.plot([spot], [0], marker="^", markersize=7, clip_on=False, zorder=3, **look)


def _lay_out(ax: Axes, edges: np.ndarray) -> None:
    """Marks from the middle outwards, as many as stand apart."""
    places: dict[float, float] = {}
    for mark in MARKS:
        place, apart = _odds(mark), 0.09 * (edges[-1] - edges[0])
        if edges[0] <= place <= edges[-1] and all(abs(place - p) > apart for p in places.values()):
            places[mark] = place
    ax.set_xticks(
        list(places.values()), labels=[f"{mark:g}".replace("e-0", "e-") for mark in places]
    )
    ax.set_xlim(edges[0], edges[-1])
