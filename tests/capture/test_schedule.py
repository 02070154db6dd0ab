"""Schedules capture the steps they promise."""

import pytest

from kdanalysis import at, every, logarithmic


def captured(schedule, count=1001):
    return [step for step in range(count) if schedule(step)]


def test_every_nth_step_from_zero():
    assert captured(every(250)) == [0, 250, 500, 750, 1000]


def test_given_steps():
    assert captured(at([3, 1, 999])) == [1, 3, 999]


def test_logarithmic_steps_are_evenly_spaced_in_the_logarithm():
    assert captured(logarithmic(1)) == [0, 1, 10, 100, 1000]
    assert captured(logarithmic(3)) == [0, 1, 2, 5, 10, 22, 46, 100, 215, 464, 1000]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: every(0), "needs n >= 1, got 0"),
        (lambda: at([2, -1]), "steps count from 0, got -1"),
        (lambda: logarithmic(0), "needs per_decade >= 1, got 0"),
    ],
)
def test_impossible_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
