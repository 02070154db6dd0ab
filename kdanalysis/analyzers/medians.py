"""Medians with their intervals, which lie as far to either side as the values themselves do."""

from typing import Any

import numpy as np

from kdanalysis.analyzers.evidence import Interval, Z

ENDS = ("median_low", "median_high")


def median_of(row: Any) -> Interval:
    """Return the median of a row of a table with the wider side of its interval on both."""
    low, high = sides(row)
    return Interval(float(row["median"]), max(low, high))


def difference_of_medians(a: Any, b: Any) -> Interval:
    """Return the median of a less that of b, as of independent rows.

    Half is that of the side on which 0 lies (Donner and Zou's recovered variances): of a skewed
    row it tells as much as both ends do.
    """
    value = float(a["median"] - b["median"])
    (low_a, high_a), (low_b, high_b) = sides(a), sides(b)
    half = np.hypot(low_a, high_b) if value > 0 else np.hypot(high_a, low_b)
    return Interval(value, float(half))


def sides(row: Any) -> tuple[float, float]:
    """Return how far the interval reaches below and above the median; NaN of fewer than six values.

    As ``Bins.median_ends`` says; in tables without them as of a normal middle, 1.2533 standard
    deviations over root n, of which the quartiles lie 1.349 apart (McGill, Tukey and Larsen, 1978).
    """
    if all(end in row for end in ENDS):
        low, high = (float(abs(row[end] - row["median"])) for end in ENDS)
        return low, high
    n = float(row["n"])
    error = 1.2533 / 1.349 * (row["q75"] - row["q25"]) / n**0.5 if n > 5 else np.nan
    return (float(Z * error),) * 2
