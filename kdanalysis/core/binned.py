"""Values sorted into equal bins as a compiled loop, for processors: each is looked at once."""

from typing import no_type_check

import numpy as np

from kdanalysis.core.sweep.elementary import compiled

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
