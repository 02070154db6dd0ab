"""Marks show what they are given: colours, texts and names of cells, lines and their bands."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from kdanalysis.draw.colours import CYCLE, INK
from kdanalysis.draw.look import new_axes
from kdanalysis.draw.marks import banded_line, cosine_map, heat_map, line_look

CELLS = np.array([[0.2, 0.9], [np.nan, 0.4]])


def dark(value: float) -> bool:
    return value > 0.5


def test_long_names_lose_their_middle_so_that_the_cells_have_room():
    ax = new_axes()
    long = [f"{letter * 60}:low_other" for letter in "ab"]
    heat_map(ax, CELLS, {}, dark, long, long)
    for ticks in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [len(tick.get_text()) for tick in ticks] == [24, 24]
        assert ticks[1].get_text().startswith("bbb")
    ax.figure.draw_without_rendering()  # a layout that fails warns


def test_texts_stand_in_their_cells_and_are_white_on_dark_ones():
    ax = new_axes()
    texts = {(0, 0): "low", (0, 1): "high", (1, 0): "none"}
    image = heat_map(ax, CELLS, texts, dark, cmap="viridis_r", vmin=0)
    found = {t.get_text(): (*t.get_position(), t.get_color()) for t in ax.texts}
    assert found == {"low": (0, 0, INK), "high": (1, 0, "white"), "none": (0, 1, INK)}
    np.testing.assert_array_equal(image.get_array().filled(np.nan), CELLS)
    assert image.get_clim() == (0, 0.9)
    assert ax.get_aspect() == "auto"
    assert ax.get_xticks().tolist() == ax.get_yticks().tolist() == []


def test_names_are_shown_as_they_are_and_turned_where_they_are_long():
    ax = new_axes()
    heat_map(ax, CELLS, {}, dark, ["a", "$b$"], ["short", "0123456789"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "$b$"]
    assert not any(t.get_parse_math() for t in ax.get_yticklabels())
    assert {t.get_rotation() for t in ax.get_xticklabels()} == {35}
    straight = new_axes()
    heat_map(straight, CELLS, {}, dark, (), ["short", "012345678"])
    assert {t.get_rotation() for t in straight.get_xticklabels()} == {0}


def test_cosines_have_one_scale_and_strong_ones_of_either_sign_white_texts():
    ax = new_axes()
    cells = np.array([[-0.6, 0.5]])
    image = cosine_map(ax, cells, {(0, 0): "-", (0, 1): "+"}, ["a"], ["b", "c"])
    assert image.get_clim() == (-1, 1)
    assert [t.get_color() for t in ax.texts] == ["white", INK]


def test_a_band_lies_under_its_line_in_its_colour():
    ax = new_axes()
    column = pd.Series([1.0, 2.0])
    banded_line(ax, column, column, column - 1, column + 1, CYCLE[0], label="x", marker="o")
    (line,), (band,) = ax.lines, ax.collections
    assert list(line.get_ydata()) == [1, 2]
    assert to_hex(band.get_facecolor()[0]) == line.get_color() == CYCLE[0]
    assert set(band.get_paths()[0].vertices[:, 1]) == {0, 1, 2, 3}


@pytest.mark.parametrize(("points", "marker"), [(39, "o"), (40, None)])
def test_lines_differ_by_colour_then_by_dashes_and_few_points_are_marked(points, marker):
    looks = [line_look(place, points) for place in range(2 * len(CYCLE))]
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == len(looks)
    assert {look["linestyle"] for look in looks[: len(CYCLE)]} == {"-"}
    assert {look["marker"] for look in looks} == {marker}
