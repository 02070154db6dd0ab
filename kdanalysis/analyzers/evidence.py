"""Evidence: a number with its 95 % interval, and what may be said of it.

A sentence claims only what could have come out otherwise: "seen" where the interval lies above 0,
"not seen" where it holds 0 or lies below, "cannot be tested here" where there is nothing to count.
"""

from math import isnan, sqrt
from typing import NamedTuple

Z = 1.96  # standard errors to either side
SEEN, UNSEEN, UNTESTED = "seen", "not seen", "cannot be tested here"


class Interval(NamedTuple):
    """An estimate and half of its 95 % interval, in the unit of the estimate; NaN if unknown."""

    value: float
    half: float

    @property
    def low(self) -> float:
        """Lower end."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """Upper end."""
        return self.value + self.half

    @property
    def verdict(self) -> str:
        """Whether the estimate is seen to be above 0."""
        if isnan(self.value) or isnan(self.half):
            return UNTESTED
        return SEEN if self.low > 0 else UNSEEN

    def points(self) -> str:
        """Write a difference of shares in percentage points."""
        return f"{100 * self.value:+.1f} ± {100 * self.half:.1f} points"

    def plain(self, digits: int = 3) -> str:
        """Write the estimate and half of its interval."""
        return f"{self.value:.{digits}f} ± {self.half:.{digits}f}"


def difference_of_shares(a: float, n_a: float, b: float, n_b: float) -> Interval:
    """Return the share a of n_a samples less the share b of n_b others (Agresti and Caffo).

    One success and one failure are added to either side, which keeps the interval honest for
    shares near 0 and 1. For the mean of several indicators of a sample, such as pairs of terms,
    the interval is at most too wide.
    """
    if not n_a or not n_b or isnan(a) or isnan(b):
        return Interval(float("nan"), float("nan"))
    parts = [((share * n + 1) / (n + 2), n + 2) for share, n in ((a, n_a), (b, n_b))]
    middle = parts[0][0] - parts[1][0]
    half = Z * sqrt(sum(share * (1 - share) / n for share, n in parts))
    # The interval is centred on the shrunk difference: widened so that it holds around the plain.
    return Interval(a - b, half + abs(a - b - middle))
