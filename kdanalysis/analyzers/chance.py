"""Groups of samples: whether they differ by more than chance, and in words."""

from collections.abc import Iterable, Sequence
from math import inf, sqrt

import numpy as np

from kdanalysis.analyzers.evidence import SEEN, UNSEEN, UNTESTED, Real
from kdanalysis.core.wording import numeral, percents

LARGE = 10  # samples of a group whose share is named
EXPECTED = 5  # of either kind in every group, from which on chi-square has its distribution
DEALS = 399  # of which the 20 largest lie at the bound or above it


def chance_spread(shares: np.ndarray, n: np.ndarray) -> tuple[str, str]:
    """Say whether shares of groups differ by more than chance, and with which statistic.

    Pearson's chi-square of homogeneity against the 95 % point of its distribution; where that does
    not hold, as a group expects fewer than five of either kind, of samples dealt to the groups at
    random (Fisher's permutation, seeded).

    Args:
        shares: of every group.
        n: samples of every group, above 0.
    """
    whole = float((shares * n).sum() / n.sum())
    freedom = len(shares) - 1
    if freedom < 1:
        return UNTESTED, "there is one group alone"
    if n.max() <= 1:
        return UNTESTED, "no group has two samples"
    found = round(float(chi_square(shares, n, whole)), 12)
    few = n.min() * min(whole, 1 - whole) < EXPECTED
    bound = dealt_bound(n, whole) if few else freedom * mean_square_bound(freedom)
    text = f"chi-square {numeral(found)}, by chance below {numeral(bound)} in 95 of 100"
    return (SEEN if found > bound * (1 + 1e-9) else UNSEEN), text


def chi_square(shares: np.ndarray, n: np.ndarray, whole: float) -> np.ndarray:
    """Return Pearson's statistic of shares of n by group, the last axis; 0 where all are alike."""
    spread = (n * (shares - whole) ** 2).sum(-1)
    return np.asarray(spread / (whole * (1 - whole)) if 0 < whole < 1 else 0 * spread)


def dealt_bound(n: np.ndarray, whole: float) -> float:
    """Return what the statistic stays below in 95 of 100 deals of the samples to their groups."""
    sizes = np.maximum(n.round(), 1).astype(np.int64)
    hits = round(whole * int(sizes.sum()))
    deals = np.random.default_rng(0).multivariate_hypergeometric(sizes, hits, DEALS)
    return float(np.sort(chi_square(deals / sizes, sizes, hits / sizes.sum()))[-(DEALS + 1) // 20])


def mean_square_bound(freedom: Real) -> float:
    """Return what the mean square of standard normal numbers stays below in 95 of 100.

    Wilson and Hilferty's cube root, which is within 2.5 percent for one and nearer for more.
    """
    ninth = 2 / (9 * float(freedom))
    return (1 - ninth + 1.6449 * sqrt(ninth)) ** 3


def ratio_bound(freedom: Real, behind: Real) -> float:
    """Return what a mean square over its estimate stays below in 95 of 100, inf where any may be.

    The 95 % point of Fisher's F (Paulson's cube root).

    Args:
        freedom: degrees of freedom of the mean square.
        behind: those of the estimate.
    """
    own, other = 2 / (9 * float(freedom)), 2 / (9 * float(behind))
    square = (1 - other) ** 2 - 1.6449**2 * other
    if square <= 0:
        return inf
    middle = (1 - own) * (1 - other)
    rest = middle**2 - square * ((1 - own) ** 2 - 1.6449**2 * own)
    return ((middle + sqrt(rest)) / square) ** 3


def spread_told(names: Sequence[str], shares: Iterable[Real], n: Iterable[Real]) -> str:
    """Say whether shares of named groups of n samples differ by more than chance, and the ends.

    The ends are of groups of 10 samples or more: those of one or two are 0 and 1 by themselves.
    """
    values, sizes = (np.array([float(one) for one in given]) for given in (shares, n))
    seen, why = chance_spread(values, sizes)
    large = np.flatnonzero(sizes >= LARGE)
    low, high = (large[pick(values[large])] if len(large) else 0 for pick in (np.argmin, np.argmax))
    if values[low] == values[high]:
        return f"{seen} ({why})"
    least, most = percents(values[low], values[high])
    return f"{seen} (from {least} of {names[low]} to {most} of {names[high]}; {why})"
