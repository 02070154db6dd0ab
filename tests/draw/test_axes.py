"""Ticks stand at the k that are marked and at whole times."""

from itertools import pairwise

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from kdanalysis.draw.axes import cosine_limits, k_axis, log_axis, round_ticks, time_axis
from kdanalysis.draw.look import new_axes


def test_marked_k_have_ticks_in_place_of_round_numbers_too_near():
    ax = new_axes()
    k_axis(ax, range(2, 99), (4, 38))
    assert ax.get_xticks().tolist() == [2, 4, 10, 20, 38, 98]
    k_axis(ax, range(2, 9), (4,))
    assert ax.get_xticks().tolist() == list(range(2, 9))


def test_a_marked_number_stays_where_a_larger_one_would_touch_it():
    for marked, ticks in (((), [10, 100]), ((80,), [10, 80])):
        ax = new_axes(2, 3)
        log_axis(ax, [10, 80, 100], "{x:.0f}", marked)
        assert ax.get_xticks().tolist() == ticks


@pytest.mark.parametrize("classes", [1300, 8000, 32000])
def test_numbers_of_a_vocabularys_k_do_not_touch(classes):
    ax = new_axes(4.5, 3)
    k_axis(ax, [*range(1, 101), classes])
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in ax.get_xticklabels()]
    assert len(boxes) >= 5
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert ax.get_xticks()[-1] == classes


@pytest.mark.parametrize(("times", "ticks"), [([7, 7], [7]), ([0, 1, 2], [0, 1, 2])])
def test_times_are_whole_and_a_single_one_has_its_tick(times, ticks):
    ax = new_axes()
    ax.plot(times, times)
    time_axis(ax, pd.Series(times))
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == ticks


def test_a_logarithmic_axis_keeps_as_many_ticks_as_stand_side_by_side():
    wide, narrow = new_axes(8, 3), new_axes(1.5, 3)
    places = [2**power for power in range(9)]
    for ax in (wide, narrow):
        log_axis(ax, places, "{x:.0f}")
    assert list(wide.get_xticks()) == places
    kept = list(narrow.get_xticks())
    assert set(kept) < set(places)
    assert kept[-1] == 256
    canvas = FigureCanvasAgg(narrow.figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in narrow.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize(
    ("limits", "most", "expected"),
    [
        ((0.0026, 0.03), 3, [0.005, 0.01, 0.02]),
        ((7.4, 13.7), 6, [8, 9, 10, 11, 12, 13]),
        ((7.4, 13.7), 3, [8, 10, 12]),
        ((0.05, 6), 3, [0.1, 1]),
        ((2.1, 2.9), 6, [2.2, 2.4, 2.6, 2.8]),
        ((1e-9, 1e3), 6, [1e-9, 1e-6, 1e-3, 1, 1e3]),
    ],
)
def test_a_logarithmic_axis_has_two_ticks_at_least_and_no_more_than_there_is_room_for(
    limits, most, expected
):
    ax = new_axes()
    ax.set_xscale("log")
    ax.set_xlim(*limits)
    round_ticks(ax.xaxis, most)
    assert ax.get_xticks().tolist() == pytest.approx(expected)
    assert [label.get_text() for label in ax.get_xticklabels()] == [f"{x:g}" for x in expected]


def test_an_axis_of_cosines_reaches_below_0_where_one_does():
    assert cosine_limits(pd.Series([0.5, 0.9, float("nan")])) == (-0.03, 1.03)
    assert cosine_limits(pd.Series([0.5, -0.01])) == (-0.53, 1.03)
    assert cosine_limits(pd.Series([0.5, -0.51])) == (-1.03, 1.03)
