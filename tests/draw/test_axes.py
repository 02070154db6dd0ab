"""Ticks stand at the k that are marked and at whole times."""

import pandas as pd
import pytest

from kdanalysis.draw.axes import k_axis, time_axis
from kdanalysis.draw.look import new_axes


def test_marked_k_have_ticks_in_place_of_round_numbers_too_near():
    ax = new_axes()
    k_axis(ax, range(2, 99), (4, 38))
    assert ax.get_xticks().tolist() == [2, 4, 10, 20, 38, 98]
    k_axis(ax, range(2, 9), (4,))
    assert ax.get_xticks().tolist() == list(range(2, 9))


@pytest.mark.parametrize(("times", "ticks"), [([7, 7], [7]), ([0, 1, 2], [0, 1, 2])])
def test_times_are_whole_and_a_single_one_has_its_tick(times, ticks):
    ax = new_axes()
    ax.plot(times, times)
    time_axis(ax, pd.Series(times))
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == ticks
