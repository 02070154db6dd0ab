"""Evidence: a number with its 95 % interval, and what may be said of it.

A sentence claims only what could have come out otherwise: "seen" where the interval lies above 0,
"not seen" where it holds 0, "the opposite is seen" where it lies below, "cannot be tested here"
where there is nothing to count.
No sentence holds NaN or inf: what is not known is said to be so.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import exp, inf, isfinite, isnan, nan, sqrt
from typing import NamedTuple, SupportsFloat, TypeVar

import numpy as np

from kdanalysis.analyzers.student_t import wide
from kdanalysis.core.wording import matched, numeral, percent, percents, ratios, written

Real = SupportsFloat
Value = TypeVar("Value")

Z = 1.96  # standard errors to either side
SEEN, UNSEEN, UNTESTED = "seen", "not seen", "cannot be tested here"
OPPOSITE = "the opposite is seen"
ENDS = {
    SEEN: "is seen",
    UNSEEN: "is not seen",
    OPPOSITE: "is seen not to hold",
    UNTESTED: UNTESTED,
}


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
        """Whether the estimate is seen to be above 0, or below."""
        if isnan(self.value) or isnan(self.half):
            return UNTESTED
        return SEEN if self.low > 0 else OPPOSITE if self.high < 0 else UNSEEN

    @property
    def claim(self) -> str:
        """The verdict as the end of a sentence."""
        return ended(self.verdict)

    def above(self, level: float) -> "Interval":
        """The same of the estimate less a level, at which there would be nothing to claim."""
        return Interval(self.value - level, self.half)

    @property
    def negated(self) -> "Interval":
        """The same of the estimate's negative."""
        return Interval(-self.value, self.half)

    def chosen_of(self, count: int, n: Real = inf) -> "Interval":
        """The same of one that was taken for its value: an interval that holds for all of them.

        Args:
            count: how many estimates it was taken from, which hold together in 95 of 100 draws.
            n: values behind an estimate.
        """
        return Interval(self.value, self.half * wide(n, count) / wide(n))

    def less(self, other: "Interval") -> "Interval":
        """The difference to another estimate, as of independent samples."""
        return Interval(self.value - other.value, float(np.hypot(self.half, other.half)))

    def text(self, spec: str = ".3f", scale: float | int = 1, unit: str = "") -> str:
        """Write the estimate and half of its interval, times a scale, to the same decimals.

        A half that two more decimals show is not written as 0 (``.2f``); of ``.3g`` it has two
        digits.
        """
        if not isfinite(self.half):
            why = " (interval unknown)" if isfinite(self.value) else ""
            return f"{written(scale * self.value, spec)}{unit if why else ''}{why}"
        value, half = scale * self.value, abs(scale * self.half)
        spec, of_half = matched(spec, value, half)
        return f"{written(value, spec)} ± {written(half, of_half.removeprefix('+'))}{unit}"

    def points(self) -> str:
        """Write a difference of shares in percentage points."""
        return self.text("+z.1f", 100, " points")

    def percent(self) -> str:
        """Write a share in percent; with decimals that tell it from 0 and 1."""
        if not isfinite(self.half):
            return self.share()
        inside = 0 < self.value < 1
        told = (d for d in (1, 2, 3) if 0 < round(100 * self.value, d) < 100 or not inside)
        return self.text(f"z.{next(told, 1)}f", 100, " %")

    def share(self) -> str:
        """Write a part of a whole with the ends of its interval, which do not leave 0 to 1."""
        return with_ends(self.value, max(self.low, 0), min(self.high, 1))

    def ratio(self) -> str:
        """Write the logarithm of a ratio as the ratio with the ends of its interval."""
        if not isfinite(self.half):
            return numeral(exp(self.value))
        value, low, high = ratios(*map(exp, (self.value, self.low, self.high)))
        return f"{value} (95 % {low} to {high})"


def told_apart(one: Interval, other: Interval) -> tuple[str, str]:
    """Write two estimates with so many decimals, from three to nine, that they are not alike."""
    for digits in range(3, 10):
        texts = one.text(f".{digits}f"), other.text(f".{digits}f")
        if len({text.partition(" ")[0] for text in texts}) > 1:
            return texts
    return one.text(), other.text()


def agreed(found: Iterable[Interval]) -> str:
    """Return the verdict on one claim that is measured in several ways: not seen where they differ.

    Not tested where one of them is not.
    """
    verdicts = {one.verdict for one in found}
    if UNTESTED in verdicts:
        return UNTESTED
    return verdicts.pop() if len(verdicts) == 1 else UNSEEN


def between(low: Real, high: Real) -> Interval:
    """Return the interval of these ends."""
    low, high = float(low), float(high)
    return Interval((low + high) / 2, (high - low) / 2)


def sorted_by_verdict(parts: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Return what belongs to each verdict, the seen first."""
    return sorted(parts.items(), key=lambda part: list(ENDS).index(part[0]))


def ended(verdict: str) -> str:
    """Write a verdict as the end of a sentence: "is seen", "is not seen", ..."""
    return ENDS[verdict]


def weakest(found: Iterable[Interval], n: Real = inf) -> Interval:
    """Return the one, of n values each, that decides whether all hold: least may be claimed of it.

    One on the other side of 0, at a level for all, else one not tested, one not seen, the first.
    """
    of_all = list(found)
    told = (x.chosen_of(len(of_all), n) if x.verdict == OPPOSITE else x for x in of_all)
    return max(told, key=lambda one: (SEEN, UNSEEN, UNTESTED, OPPOSITE).index(one.verdict))


def difference_of_shares(a: Real, n_a: Real, b: Real, n_b: Real) -> Interval:
    """Return the share a of n_a samples less the share b of n_b others (Agresti and Caffo).

    One success and one failure are added to either side, which keeps the interval honest for
    shares near 0 and 1, and it is widened to hold around the plain difference. For the mean of
    several indicators of a sample, such as pairs of terms, it is at most too wide.
    """
    a, n_a, b, n_b = map(float, (a, n_a, b, n_b))
    if not n_a or not n_b or isnan(a) or isnan(b):
        return Interval(nan, nan)
    parts = [((share * n + 1) / (n + 2), n + 2) for share, n in ((a, n_a), (b, n_b))]
    middle = parts[0][0] - parts[1][0]
    half = Z * sqrt(sum(share * (1 - share) / n for share, n in parts))
    return Interval(a - b, half + abs(a - b - middle))


def difference_of_means(
    a: Real, std_a: Real, n_a: Real, b: Real, std_b: Real, n_b: Real
) -> Interval:
    """Return the mean a less the mean b, as of independent samples.

    For two numbers of the same samples that rise together the interval is too wide.
    """
    a, std_a, n_a, b, std_b, n_b = map(float, (a, std_a, n_a, b, std_b, n_b))
    few = min(n_a, n_b)
    half = wide(few) * sqrt(std_a**2 / n_a + std_b**2 / n_b) if few else nan
    return Interval(a - b if few else nan, half)


def wilson(share: Real, n: Real) -> tuple[float, float]:
    """Return the ends of the interval of a share of n samples (Wilson, 1927); NaN of none.

    It has a width where all samples are alike, and does not leave 0 to 1.
    """
    share, n = float(share), float(n)
    if not n or isnan(share):
        return nan, nan
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)  # rounding


def share_interval(share: Real, n: Real) -> Interval:
    """Return a share of n samples with the wider side of its interval (:func:`wilson`) on both."""
    low, high = wilson(share, n)
    return Interval(float(share), max(high - float(share), float(share) - low))


def share_of(share: Real, n: Real) -> str:
    """Write a share of n samples with the ends of its 95 % interval (:func:`wilson`)."""
    return with_ends(share, *wilson(share, n))


def with_ends(share: Real, low: Real, high: Real) -> str:
    """Write a share with the ends of its interval, all in percent."""
    if not (isfinite(low) and isfinite(high)):
        return percent(share) + " (interval unknown)" * isfinite(share)
    told, *ends = percents(share, low, high)
    return f"{told} ({' to '.join(ends)})"


def mean_of(values: Iterable[Real]) -> Interval:
    """Return the mean of independent values with its t interval; half NaN of one, all of none."""
    numbers = np.array([float(value) for value in values])
    if len(numbers) < 2:
        return Interval(float(numbers.sum()) if len(numbers) else nan, nan)
    half = wide(len(numbers)) * numbers.std(ddof=1) / sqrt(len(numbers))
    return Interval(float(numbers.mean()), float(half))


def jackknife(whole: Real, left: Sequence[Real]) -> Interval:
    """Return an estimate with its interval over groups, such as classes or captured steps.

    The t interval of the jackknife; half NaN of fewer than three, or where one holds all it needs.

    Args:
        whole: the estimate from all groups.
        left: the estimates with each group left out in turn.
    """
    if len(left) < 3 or not all(isfinite(float(value)) for value in left):
        return Interval(float(whole), nan)
    spread = np.var([float(value) for value in left]) * (len(left) - 1)
    return Interval(float(whole), float(wide(len(left)) * sqrt(spread)))
