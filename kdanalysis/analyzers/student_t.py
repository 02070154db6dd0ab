"""How far an interval of a mean reaches, of few values and of one among many."""

from functools import lru_cache
from math import cos, inf, isnan, nan, pi, sin, sqrt, tan
from statistics import NormalDist
from typing import SupportsFloat

SERIES = 30  # degrees of freedom: up to here the sum is exact, beyond it four terms are


@lru_cache(4096)
def wide(n: SupportsFloat = inf, count: int = 1) -> float:
    """Return to how many standard errors the 95 % interval of a mean of n reaches; NaN of one.

    Student's t with n - 1 degrees of freedom. Of ``count`` intervals, one of which is taken for its
    value, it is so wide that all hold together in 95 of 100 draws or more (Bonferroni).
    """
    freedom, outside = float(n) - 1, 0.025 / count
    if not freedom >= 1:
        return nan
    if freedom > SERIES:
        return _expanded(-NormalDist().inv_cdf(outside), freedom)
    low, high = 0.0, pi / 2
    while low < (angle := (low + high) / 2) < high:
        low, high = (
            (angle, high) if _inside(angle, int(freedom)) < 1 - 2 * outside else (low, angle)
        )
    return sqrt(int(freedom)) * tan(angle)


def for_all(half: float, count: int, what: str) -> str:
    """Say, behind an interval of known half, for how many it holds; "" where it is of one alone."""
    return f", 95 % for all {count:,} {what} together" if count > 1 and not isnan(half) else ""


def _inside(angle: float, freedom: int) -> float:
    """Probability of a t between those of plus and minus an angle, t = root(freedom) tan(angle).

    Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    odd, square, total = freedom % 2, cos(angle) ** 2, 0.0
    part = cos(angle) if odd else 1.0
    for power in range(2 + odd, freedom + 1, 2):
        total += part
        part *= square * (power - 1) / power
    if odd:
        return 2 / pi * (angle + sin(angle) * total)
    return sin(angle) * total


def _expanded(z: float, freedom: float) -> float:
    """Student's quantile from the normal one (Abramowitz and Stegun, 26.7.5)."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))
