"""Groups of samples: whether they differ by more than chance, and in words."""

from collections.abc import Iterable, Sequence
from math import sqrt

import numpy as np

from kdanalysis.analyzers.evidence import SEEN, UNSEEN, UNTESTED, Real
from kdanalysis.core.wording import numeral, percent


def chance_spread(shares: np.ndarray, n: np.ndarray) -> tuple[str, str]:
    """Say whether shares of groups differ by more than chance, and with which statistic.

    Pearson's chi-square of homogeneity against the 95 % point of its distribution.

    Args:
        shares: of every group.
        n: samples of every group, above 0.
    """
    whole = float((shares * n).sum() / n.sum())
    freedom = len(shares) - 1
    if freedom < 1:
        return UNTESTED, "there is one group alone"
    spread = n * (shares - whole) ** 2
    found = float(spread.sum() / (whole * (1 - whole))) if 0 < whole < 1 else 0.0
    bound = freedom * mean_square_bound(freedom)
    text = f"chi-square {numeral(found)}, by chance below {numeral(bound)} in 95 of 100"
    return (SEEN if found > bound else UNSEEN), text


def mean_square_bound(freedom: Real) -> float:
    """Return what the mean square of standard normal numbers stays below in 95 of 100.

    Wilson and Hilferty's cube root, which is within 2.5 percent for one and nearer for more.
    """
    ninth = 2 / (9 * float(freedom))
    return (1 - ninth + 1.6449 * sqrt(ninth)) ** 3


def spread_told(names: Sequence[str], shares: Iterable[Real], n: Iterable[Real]) -> str:
    """Say whether shares of named groups of n samples differ by more than chance, and the ends."""
    values = np.array([float(share) for share in shares])
    seen, why = chance_spread(values, np.array([float(one) for one in n]))
    low, high = values.argmin(), values.argmax()
    if values[low] == values[high]:
        return f"{seen} ({why})"
    ends = (
        f"{percent(values[low], 0)} of {names[low]} to {percent(values[high], 0)} of {names[high]}"
    )
    return f"{seen} (from {ends}; {why})"
