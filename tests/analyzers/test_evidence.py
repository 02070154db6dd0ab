"""A verdict says on which side of 0 an interval lies, in every place where one stands."""

import pytest
import torch

from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.evidence import (
    OPPOSITE,
    SEEN,
    UNSEEN,
    UNTESTED,
    Interval,
    agreed,
    between,
    sorted_by_verdict,
    weakest,
    written,
)

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
    assert weakest((BELOW, UNKNOWN, ABOVE)) == BELOW  # one is enough against all
    assert weakest((ABOVE, Interval(0.4, 0.1))) == ABOVE


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
        (-0.0424, 0.0141, "+.3g", "-0.042 ± 0.014"),
        (9.842, 0.1512, "+.2g", "+9.84 ± 0.15"),
        (0.019, 0.25, ".2g", "0.02 ± 0.25"),
        (0.0, 0.25, ".2g", "0.00 ± 0.25"),
        (3.0, 0.0105, ".3g", "3.000 ± 0.011"),
        (12345.0, 12.3, ".3g", "12,345 ± 12"),
        (12345.0, 4.0, ".3g", "12,345.0 ± 4.0"),
        (0.9997, 0.0004, ".2g", "0.99970 ± 0.00040"),
        (-1e-4, 0.5, "+.2g", "+0.00 ± 0.50"),
        (1e-9, 1e-9, ".3g", "1 x 10⁻⁹ ± 1 x 10⁻⁹"),
        (0.7712, 0.0031, ".2f", "0.771 ± 0.003"),
        (0.7712, 0.0000031, ".2f", "0.77 ± 0.00"),
        (0.7712, 0.0, ".2f", "0.77 ± 0.00"),
        (0.7712, 0.031, ".2f", "0.77 ± 0.03"),
    ],
)
def test_an_estimate_has_the_decimals_of_its_interval(value, half, spec, told):
    assert Interval(value, half).text(spec) == told


def test_digits_are_written_without_an_exponent():
    assert Interval(243.0, 0.00001).text("+.2g") == "+243.000000 ± 0.000010"
    assert Interval(2.0e6, 1.0e5).text(".2g", unit=" nats") == "2 million ± 100,000 nats"
    assert Interval(14.0, 1.0).ratio() == "1.2 million (95 % 442,000 to 3.27 million)"
    assert written(float("nan"), ".2g") == written(float("inf"), ".2f") == "unknown"


@pytest.mark.parametrize("left", [0.0, 1e-17])  # what rounding makes of a square less itself
def test_a_single_sample_has_no_deviation_where_rounding_leaves_one(left):
    one, two = torch.tensor([1, 2], dtype=torch.float64)
    assert deviation(one / 10, one / 100 + left, one).isnan()
    assert float(deviation(4 * one, 10 * one, two)) == pytest.approx(2**0.5)  # of 1 and 3
