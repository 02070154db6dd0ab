"""Horizontal axes of k, temperatures and times, with ticks at the numbers that people use."""

from collections.abc import Collection, Sequence
from math import floor, log

import pandas as pd

from kdanalysis.draw.look import Axes, Axis, few_ticks, fine

LOGARITHMIC = 20  # more k than this are laid out on a logarithmic axis
LEFT = 0.75  # of the width of axes over k, by the legend beside them
NEAR = 0.3  # of the logarithms of two k whose numbers would overlap
ROUND = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def k_axis(ax: Axes, ks: Collection[int], marked: Collection[int] = ()) -> None:
    """Ticks at the k where they are few and small; else a logarithmic axis to the last of them.

    Those that are marked have a tick on either, in place of a round number too near.
    """
    last = int(max(ks))
    if len(ks) <= LOGARITHMIC and last <= 2 * LOGARITHMIC:
        ax.set_xticks(list(ks))
    else:
        steps = ROUND if last <= 2 * ROUND[-1] else [10**power for power in range(7)]
        places = [*(k for k in steps if min(ks) <= k < 0.7 * last), last]
        kept = [k for k in places if all(abs(log(k / one)) > NEAR for one in marked)]
        log_axis(ax, sorted({*kept, *marked}), "{x:.0f}", marked, LEFT)


def cosine_limits(cosines: pd.Series) -> tuple[float, float]:
    """Ends of an axis of cosines: 0 and 1, or -0.5 or -1 where one of them points the other way."""
    least = cosines.min()
    return (floor(2 * least) / 2 if least < 0 else 0.0) - 0.03, 1.03


def time_axis(ax: Axes, times: pd.Series, most: int = 5) -> None:
    """Few ticks at whole steps or epochs; where there is one time alone, a tick there."""
    if len(places := times.dropna().unique()) == 1:
        ax.set_xticks([float(places[0])])
    else:
        few_ticks(ax.xaxis, most, integer=True)


def log_axis(
    ax: Axes,
    places: Sequence[float | int],
    text: str = "{x:g}",
    marked: Collection[float | int] = (),
    left: float | int = 1,
) -> None:
    """Make the axis logarithmic, with these ticks alone, written as ``text`` says.

    Of numbers that would touch those stay that are marked, then the larger ones; ``left`` is the
    part of the width that what stands beside the axes leaves.
    """
    ax.set_xscale("log")
    inches = left * ax.figure.get_figwidth() * ax.get_position().width
    decades = log(max(places) / min(places)) or 1.0
    letters = 72 * inches / (fine() * 0.64) / decades  # to a unit of the logarithm
    kept: list[float | int] = []
    for place in sorted(places, key=lambda place: (place not in marked, -place)):
        wide = len(text.format(x=place))
        if all(
            letters * abs(log(place / other)) >= (wide + len(text.format(x=other))) / 2 + 0.5
            for other in kept
        ):
            kept.append(place)
    ax.set_xticks(sorted(kept))
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter(text)


def round_ticks(axis: Axis, most: int = 6) -> None:
    """At least two ticks of a logarithmic axis and at most so many, at round numbers, as they are.

    At 1, 2, 5 and their tenfolds, or as near to that as there is room.
    """
    from matplotlib.ticker import MaxNLocator

    low, high = axis.get_view_interval()
    for digits in (range(1, 10), (1, 2, 5), (1, 3), (1,)):
        ladder = [d * 10.0**power for power in range(-12, 13) for d in digits]
        marks = [x for x in ladder if low <= x <= high]
        if len(marks) <= most:
            break
    if len(marks) < 2 or high < 3 * low:  # the round numbers of a decade are too few
        ladder = MaxNLocator(most + 1, steps=(1, 2, 5, 10)).tick_values(low, high)
        marks = [x for x in ladder if low <= x <= high]
    marks = marks[:: -(-len(marks) // most)]  # of many decades
    axis.set_ticks(marks, labels=[f"{x:g}" for x in marks])
    axis.set_ticks([], minor=True)
