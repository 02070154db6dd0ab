"""Figures of suppression (figure 5; DKD, tables 11 and 12): how near to 0 a teacher's 1 - p is."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    CYCLE,
    DASHES,
    PAGE,
    Axes,
    Figure,
    new_panels,
    require,
    side_legend,
    state_left_out,
    styled,
)

MOST_BINS = 40
LOW, HIGH = -13.8, 9.2  # log odds of 1e-6 and .9999; what lies beyond is in the outermost bins
MARKS = (0.5, 0.1, 0.9, 0.01, 0.99, 1e-3, 0.999, 1e-4, 0.9999, 1e-5, 1e-6, 0.2, 0.8, 0.3, 0.7)
SMALL = 0.1  # KD keeps less than a tenth of what it says of the other classes


def join_teachers(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of several teachers as one, their names in a column ``name``.

    Raises:
        ValueError: there is no table.
    """
    if not tables:
        raise ValueError("need the table of at least one teacher, got none")
    return pd.concat([t.assign(name=name) for name, t in tables.items()], ignore_index=True)


@styled
def suppression_by_teacher(table: pd.DataFrame) -> Figure:
    """Histogram of 1 - p, a panel a temperature, a curve a teacher; triangles mark the means.

    The axis is even in the log odds of 1 - p, so that .001 and .01 are as far apart as .99 and
    .999; samples below 1e-6 and above .9999 are in the outermost bins. Neighbouring bins are
    joined, to as many as Rice's rule 2 n^(1/3) wants, at most 40.

    Args:
        table: as ``Suppression.table`` gives it; with several teachers a column ``name`` tells
            them apart (``join_teachers``). p is the label's, where all teachers have labels.
    """
    rows, what = _comparable(table)
    edges = _edges(rows)
    ladder = sorted(rows.temperature.unique())
    figure, axes = new_panels(
        len(ladder),
        1,
        figsize=(PAGE, 0.8 + 1.7 * len(ladder)),
        sharex=True,
        squeeze=False,
    )
    for ax, temperature in zip(axes[:, 0], ladder, strict=True):
        of_t = rows[rows.temperature == temperature]
        for place, (name, part) in enumerate(of_t.groupby("name", sort=False)):
            _draw(ax, part, edges, str(name), place)
        ax.set_title(f"T = {temperature:g}", loc="left")
        ax.set_ylim(0)
        side_legend(ax, "mean (triangle)")
    figure.supylabel(f"samples (% per {edges[1] - edges[0]:.2g} nats of log odds)", fontsize=10)
    axes[-1, 0].set_xlabel(f"1 - p {what}{_beyond(rows)}{state_left_out(table)}")
    _lay_out(axes[-1, 0], edges)
    return figure


def suppression_of_teachers(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The same figure for several teachers, by name."""
    return suppression_by_teacher(join_teachers(tables))


def suppression_number(table: pd.DataFrame) -> str:
    """Mean of 1 - p, and the share of samples with less than 0.1, by teacher and temperature."""
    rows, _ = _comparable(table)
    return "; ".join(
        f"{_prefix(name)}T = {t:g}: mean {_digits(mean)}, below {SMALL:g} for {small:.0%}"
        for (name, t), (mean, small) in _readings(rows).items()
    )


def suppression_sentence(table: pd.DataFrame) -> str:
    """What to read: of one teacher whether it is sure, of several which suppresses most.

    A teacher is sure where 1 - p is below 0.1 for at least half the samples at the lowest T: KD
    then says less than a tenth of the non-target term about them. Which of several teachers is the
    larger network is not to be seen in logits.
    """
    rows, what = _comparable(table)
    readings, cold = _readings(rows), rows.temperature.min()
    sure = {name: values for (name, t), values in readings.items() if t == cold}
    if len(sure) > 1:
        return _order_sentence({name: mean for name, (mean, _) in sure.items()}, cold, what)
    claim = "; ".join(
        f"{_digits(mean)} on average at T = {t:g} and below {SMALL:g} for {small:.0%} of samples"
        for (_, t), (mean, small) in readings.items()
    )
    (_, small), *_ = sure.values()
    if small >= 0.5:
        return (
            f"The teacher is sure, so that KD hardly speaks of the other classes: 1 - p {what} is "
            f"{claim}."
        )
    return f"These data do not show a sure teacher: 1 - p {what} is {claim}."


def teachers_number(tables: Mapping[str, pd.DataFrame]) -> str:
    """The same of several teachers, by name."""
    return suppression_number(join_teachers(tables))


def teachers_sentence(tables: Mapping[str, pd.DataFrame]) -> str:
    """Which of several teachers suppresses most, by name."""
    return suppression_sentence(join_teachers(tables))


def _order_sentence(means: Mapping[str, float], temperature: float, what: str) -> str:
    ordered = sorted(means, key=means.get)
    listed = ", ".join(f"{name} {_digits(means[name])}" for name in ordered)
    first, last = ordered[0], ordered[-1]
    return (
        f"The mean of 1 - p {what} at T = {temperature:g} is {listed}: with {first} as teacher KD "
        f"says the least of the non-target classes, with {last} {means[last] / means[first]:.3g} "
        f"times as much. DKD finds larger teachers nearer 0; sizes are not in the logits."
    )


def _comparable(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Rows of the class that all teachers have, by name, and whose p it is in words."""
    require(table, "of", "temperature", "low", "high", "count", "share", "mean", "n")
    named = table if "name" in table else table.assign(name="")
    labelled = named[named.of == "label"]
    if set(labelled.name) == set(named.name):
        return labelled, "of the label"
    return named[named.of == "top"], "of the most probable class (for lack of labels)"


def _readings(rows: pd.DataFrame) -> dict[tuple[str, float], tuple[float, float]]:
    """Mean of 1 - p, and the share of samples below 0.1, by (name, temperature)."""
    edge = np.log(SMALL / (1 - SMALL)) + 0.01  # the bin below ends at -2.2, which is 0.0998
    groups = rows.groupby(["name", "temperature"], sort=False)
    return {
        key: (part["mean"].iloc[0], part.share[part.high <= edge].sum()) for key, part in groups
    }


def _odds(share: float) -> float:
    return float(np.log(share) - np.log1p(-share))


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
        label=f"{_prefix(name)}{_digits(mean)}",
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


def _digits(share: float) -> str:
    """Two digits of a share, and of what is left where it is near 1."""
    return f"{share:.2g}" if share < 0.995 else f"{share:.4f}"


def _prefix(name: str) -> str:
    return f"{name}: " if name else ""
