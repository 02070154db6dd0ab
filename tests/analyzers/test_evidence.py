"""A verdict says on which side of 0 an interval lies, in every place where one stands."""

from math import isnan, nan

import numpy as np
import pytest
import torch
from scipy.stats import t as student_t

from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.evidence import (
    OPPOSITE,
    SEEN,
    UNSEEN,
    UNTESTED,
    Interval,
    agreed,
    between,
    difference_of_means,
    mean_of,
    share_of,
    sorted_by_verdict,
    told_apart,
    weakest,
    wilson,
    written,
)
from kdanalysis.analyzers.medians import difference_of_medians, median_of
from kdanalysis.analyzers.student_t import wide
from kdanalysis.core.bins import Bins

ABOVE, ACROSS, BELOW = Interval(0.3, 0.2), Interval(0.1, 0.2), Interval(-0.3, 0.2)
UNKNOWN = Interval(0.3, float("nan"))


@pytest.mark.parametrize(
    ("interval", "verdict", "claim"),
    [
        (ABOVE, "seen", "is seen"),
        (ACROSS, "not seen", "is not seen"),
        (ACROSS.negated, "not seen", "is not seen"),
        (BELOW, "the opposite is seen", "is seen not to hold"),
        (UNKNOWN, "cannot be tested here", "cannot be tested here"),
        (Interval(-0.2, 0.2), "not seen", "is not seen"),  # it holds 0
    ],
)
def test_a_verdict_says_on_which_side_of_0_the_interval_lies(interval, verdict, claim):
    assert interval.verdict == verdict
    assert interval.claim == claim


def test_what_is_said_of_all_is_decided_by_one():
    assert weakest((ABOVE, ACROSS)) == ACROSS
    assert weakest((ABOVE, UNKNOWN, ACROSS)) is UNKNOWN
    against = weakest((BELOW, UNKNOWN, ABOVE))  # one is enough against all
    assert (against.verdict, against.value) == (OPPOSITE, BELOW.value)
    assert weakest((ABOVE, Interval(0.4, 0.1))) == ABOVE


def test_of_several_without_a_difference_one_below_is_seen_in_five_of_a_hundred_draws():
    draws = np.random.default_rng(0).normal(size=(2000, 6))
    found = [weakest(Interval(x, 1.96) for x in row).verdict for row in draws.tolist()]
    assert found.count(OPPOSITE) < 0.035 * len(found)  # 14 of 100 where each is by itself
    assert weakest([Interval(-0.3, 0.2)] * 6, 3).verdict == UNSEEN  # three values behind each


def test_what_is_measured_in_several_ways_is_seen_where_they_agree():
    assert agreed((ABOVE, ABOVE)) == SEEN
    assert agreed((BELOW, BELOW)) == OPPOSITE
    assert agreed((ABOVE, BELOW)) == agreed((ABOVE, ACROSS)) == UNSEEN
    assert agreed((ABOVE, UNKNOWN, BELOW)) == UNTESTED


def test_the_ends_of_an_interval_give_it():
    assert (between(-3, 1).low, between(-3, 1).high) == (-3, 1)
    assert between(-3, -1).verdict == OPPOSITE


def test_what_is_seen_comes_first():
    parts = dict.fromkeys((UNTESTED, OPPOSITE, UNSEEN, SEEN), "")
    assert [verdict for verdict, _ in sorted_by_verdict(parts)] == [
        *(SEEN, UNSEEN, OPPOSITE, UNTESTED),
    ]


@pytest.mark.parametrize(
    ("value", "half", "spec", "told"),
    [
        (0.2234, 0.01382, "+.3g", "+0.223 ± 0.014"),
        (-0.0424, 0.0141, "+.3g", "\u22120.042 ± 0.014"),
        (9.842, 0.1512, "+.2g", "+9.84 ± 0.15"),
        (0.019, 0.25, ".2g", "0.02 ± 0.25"),
        (0.0, 0.25, ".2g", "0.00 ± 0.25"),
        (3.0, 0.0105, ".3g", "3.000 ± 0.011"),
        (12345.0, 12.3, ".3g", "12,345 ± 12"),
        (12345.0, 4.0, ".3g", "12,345.0 ± 4.0"),
        (0.9997, 0.0004, ".2g", "0.99970 ± 0.00040"),
        (-1e-4, 0.5, "+.2g", "+0.00 ± 0.50"),
        (1e-9, 1e-9, ".3g", "1 \u00d7 10⁻⁹ ± 1 \u00d7 10⁻⁹"),
        (0.7712, 0.0031, ".2f", "0.771 ± 0.003"),
        (0.7712, 0.0000031, ".2f", "0.77 ± 0.00"),
        (0.7712, 0.0, ".2f", "0.77 ± 0.00"),
        (0.7712, 0.031, ".2f", "0.77 ± 0.03"),
        (0.0136, 0.0131, ".2f", "0.014 ± 0.013"),  # beyond its half, and written so
        (-0.51, 0.49, "+z.1f", "\u22120.51 ± 0.49"),
        (3.4e-6, 2.1e-6, "+.3f", "+0.0000034 ± 0.0000021"),
        (-3.4e-9, 2e-9, "+z.1f", "\u22123.4 \u00d7 10⁻⁹ ± 2 \u00d7 10⁻⁹"),
        (1.9e-6, 2e-6, "+.3f", "+0.000 ± 0.000"),
        (0.1004, 0.0996, "+.2g", "+0.1004 ± 0.0996"),
        (0.0131, 0.0136, ".2f", "0.01 ± 0.01"),  # within
        (1.0, -0.0, ".3f", "1.000 ± 0.000"),
    ],
)
def test_an_estimate_has_the_decimals_of_its_interval(value, half, spec, told):
    assert Interval(value, half).text(spec) == told


def test_digits_are_written_without_an_exponent():
    assert Interval(243.0, 0.00001).text("+.2g") == "+243.000000 ± 0.000010"
    assert Interval(2.0e6, 1.0e5).text(".2g", unit=" nats") == "2 million ± 100,000 nats"
    assert Interval(14.0, 1.0).ratio() == "1.2 million (95 % 442,000 to 3.27 million)"
    assert written(float("nan"), ".2g") == written(float("inf"), ".2f") == "unknown"


@pytest.mark.parametrize(
    ("right", "n", "expected"),  # Newcombe 1998, table I, method 3
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611))],
)
def test_the_interval_of_a_share_is_the_published_one(right, n, expected):
    assert wilson(right / n, n) == pytest.approx(expected, abs=1e-4)
    assert wilson(1 - right / n, n) == pytest.approx([1 - end for end in expected[::-1]], abs=1e-4)


@pytest.mark.parametrize(
    ("share", "n", "told"),
    [
        (1.0, 2, "100.0 % (34.2 % to 100.0 %)"),
        (0.0, 19, "0.0 % (0.0 % to 16.8 %)"),
        (1 / 19, 19, "5.3 % (0.9 % to 24.6 %)"),
        (0.9998, 5000, "99.980 % (99.887 % to 99.996 %)"),
        (nan, 5, "unknown"),
        (0.5, 0, "50.0 % (interval unknown)"),
    ],
)
def test_a_share_stands_with_ends_that_have_a_width_and_do_not_leave_0_to_1(share, n, told):
    assert share_of(share, n) == told


@pytest.mark.parametrize("n", [2, 3, 4, 5, 10, 11, 31, 32, 60, 5000])
def test_a_mean_of_few_reaches_as_far_as_students_t(n):
    assert wide(n) == pytest.approx(student_t.ppf(0.975, n - 1), rel=1e-7)
    for count in (6, 60):  # one of so many
        expected = student_t.ppf(1 - 0.025 / count, n - 1)
        assert wide(n, count) == pytest.approx(expected, rel=1e-6)
        assert Interval(1.0, wide(n)).chosen_of(count, n).half == pytest.approx(wide(n, count))
    assert difference_of_means(0, 3, n, 1, 4, 5000 + n).half == pytest.approx(
        wide(n) * (9 / n + 16 / (5000 + n)) ** 0.5
    )
    values = [0.0, 1.0] * (n // 2 or 1)
    assert mean_of(values).half == pytest.approx(
        wide(len(values)) * torch.tensor(values).std().item() / len(values) ** 0.5, rel=1e-6
    )


def test_of_one_nothing_is_seen():
    assert isnan(wide(nan))
    assert isnan(wide(1))
    assert isnan(wide(0))
    assert difference_of_means(5, 0, 1, 1, 0, 9).verdict == mean_of([5]).verdict == UNTESTED


def test_medians_of_two_modes_without_a_difference_are_rarely_seen_to_differ():
    """By quartiles, as of a normal middle, 57 of 100 draws are; one by one binomials have 5."""
    draws, bins = np.random.default_rng(0), Bins(-5.0, 5.0, 1000)
    modes = np.where(draws.random((300, 2, 100)) < 0.5, -3.0, 3.0)
    values = torch.tensor(modes + draws.normal(scale=0.3, size=modes.shape)).flatten(0, 1)
    counts = torch.zeros(600, bins.size, dtype=torch.float64)
    bins.add(counts, values, torch.arange(600).unsqueeze(-1))
    found = bins.quartiles(counts) | bins.median_ends(counts) | {"n": counts.sum(-1)}
    rows = [dict(zip(found, row, strict=True)) for row in torch.stack([*found.values()]).T.tolist()]
    pairs = zip(rows[::2], rows[1::2], strict=True)
    seen = [difference_of_medians(*pair).verdict != UNSEEN for pair in pairs]
    assert np.mean(seen) < 0.07
    held = [row["median_low"] <= 0 <= row["median_high"] for row in rows]
    assert 0.93 < np.mean(held) < 0.99


def test_a_median_lies_between_the_order_statistics_of_a_sign_test():
    bins = Bins(0.0, 100.0, 100)
    for n, rank in ((5, None), (6, 1), (10, 2), (20, 6), (100, 40)):  # as tables of the binomial
        counts = torch.zeros(bins.size, dtype=torch.float64)
        bins.add(counts, torch.arange(n).double(), torch.tensor(0))
        low, high = (float(end) for end in bins.median_ends(counts).values())
        known = (nan, nan) if rank is None else (rank - 0.5, n - rank + 0.5)
        assert (low, high) == pytest.approx(known, nan_ok=True)


def test_a_median_of_five_has_no_interval():
    row = {"q25": 1.0, "median": 2.0, "q75": 3.0}
    assert median_of(row | {"n": 6}).verdict == SEEN
    assert median_of(row | {"n": 5}).verdict == UNTESTED


@pytest.mark.parametrize(
    ("interval", "percent", "share"),
    [
        (Interval(0.7, 0.03), "70.0 ± 3.0 %", "70.0 % (67.0 % to 73.0 %)"),
        (Interval(0.9, 0.3), "90.0 ± 30.0 %", "90.0 % (60.0 % to 100.0 %)"),
        (Interval(0.0004, 0.003), "0.04 ± 0.30 %", "0.04 % (0.00 % to 0.34 %)"),
        (Interval(0.9999, 0.003), "99.99 ± 0.30 %", "99.99 % (99.69 % to 100.00 %)"),
        (Interval(0.0, 0.0), "0.0 ± 0.0 %", "0.0 % (0.0 % to 0.0 %)"),
        (Interval(0.0002, nan), "0.02 % (interval unknown)", "0.02 % (interval unknown)"),
        (Interval(nan, nan), "unknown", "unknown"),
    ],
)
def test_a_share_is_told_from_0_and_1_beside_its_interval(interval, percent, share):
    assert (interval.percent(), interval.share()) == (percent, share)


@pytest.mark.parametrize("left", [0.0, 1e-17])  # what rounding makes of a square less itself
def test_a_single_sample_has_no_deviation_where_rounding_leaves_one(left):
    one, two = torch.tensor([1, 2], dtype=torch.float64)
    assert deviation(one / 10, one / 100 + left, one).isnan()
    assert float(deviation(4 * one, 10 * one, two)) == pytest.approx(2**0.5)  # of 1 and 3


def test_the_lowest_of_many_is_no_finding_by_chance():
    """Of 60 cosines without a cause the lowest is below 0 in nearly every draw."""
    draws = torch.randn(200, 60, 8, generator=torch.Generator().manual_seed(0)).double()
    lowest = draws[torch.arange(200), draws.mean(-1).argmin(-1)].tolist()
    found = [mean_of(values).negated for values in lowest]
    assert sum(one.verdict == SEEN for one in found) > 100
    assert sum(one.chosen_of(60, 8).verdict == SEEN for one in found) <= 10


@pytest.mark.parametrize(
    ("first", "second", "texts"),
    [
        ((0.99996, 1e-6), (0.99992, 2e-6), ("0.999960", "0.999920")),
        ((0.9, 0.01), (0.8, 0.01), ("0.900", "0.800")),
        ((0.5, 0.1), (0.5, 0.1), ("0.500", "0.500")),
    ],
)
def test_estimates_beside_each_other_are_not_written_alike_unless_they_are(first, second, texts):
    told = told_apart(Interval(*first), Interval(*second))
    assert tuple(text.partition(" ± ")[0] for text in told) == texts
