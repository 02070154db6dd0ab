"""Values sorted into equal bins, and their quantiles, as compiled loops for processors."""

from typing import no_type_check

import numpy as np

from kdanalysis.core.sweep.elementary import compiled, summed

STEP = 32  # bins that are passed over together
rounded = compiled()  # edges are what they are in whole arrays, to the last digit


@no_type_check
@rounded
def add(values, group, low, width, high, count, counts, sums, squares):
    """Add values to the counters of their groups, and what they lie above their bins' lower edges.

    Args:
        values: float64 (n,); NaN is in no bin.
        group: of every value (n,).
        low: where the first bin begins.
        width: of a bin.
        high: where the last one ends.
        count: of the bins; a group has one counter more before and after theirs.
        counts: of all groups; added to.
        sums: of what lies above the edges, as many, or empty; added to.
        squares: of the squares of that, likewise.
    """
    for i in range(len(values)):
        value = values[i]
        if np.isnan(value):
            continue
        inside = min(max(np.floor((value - low) / width), -1.0), count - 1.0)
        above = value - (inside * width + low)
        own = np.int64(inside) + 1
        if value > high:
            own, above = count + 1, value - (count * width + low)
        place = group[i] * (count + 2) + own
        counts[place] += 1.0
        if np.isfinite(above):
            if len(sums):
                sums[place] += above
            if len(squares):
                squares[place] += above * above


@no_type_check
@rounded
def quantiles(counts, sums, squares, qs, low, width, least, found):
    """Fill in quantiles of every group, as ``Bins.quantiles`` reads them.

    Args:
        counts: of all groups (g, b).
        sums: of what lies above the bins' edges (g, b), or (0, b).
        squares: of the squares of that, likewise.
        qs: shares, each from 0 to 1 (q,).
        low: where the first bin begins.
        width: of a bin.
        least: of what values may lie apart; else they are equal.
        found: the values (q, g); filled in.
    """
    for i in range(len(counts)):
        whole = _sum(counts[i])
        for at in range(len(qs)):
            goal = qs[at] * whole
            place, below = _reached(counts[i], goal)
            here = counts[i, place]
            inside = (goal - below) / here
            value = low + width * (place - 1 + inside)
            if len(sums):
                mean = sums[i, place] / here
                reach = min(mean, width - mean)
                if len(squares):
                    spread = max(squares[i, place] / here - mean * mean, 0.0)
                    reach = min(reach, np.sqrt(3 * spread))
                reach = reach if reach > least else 0.0
                value = ((place - 1) * width + low) + mean + (2 * inside - 1) * reach
            if place == 0:
                value = -np.inf
            if place == counts.shape[1] - 1:
                value = np.inf
            found[at, i] = value if whole > 0 else np.nan


@no_type_check
@summed
def _sum(counts):
    """How many there are; of whole numbers, in whatever order."""
    total = 0.0
    for j in range(len(counts)):
        total += counts[j]
    return total


@no_type_check
@rounded
def _reached(counts, goal):
    """The first bin up to which there are as many as the goal, and how many are before it."""
    below, place, last = 0.0, 0, len(counts) - 1
    while place + STEP <= last:
        more = _sum(counts[place : place + STEP])
        if below + more >= goal:
            break
        below, place = below + more, place + STEP
    while place < last and below + counts[place] < goal:
        below, place = below + counts[place], place + 1
    return place, below
