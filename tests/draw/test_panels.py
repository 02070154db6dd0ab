"""Grids of axes hold as many as are asked for, in even lines, with shared scales below the last."""

import pytest

from kdanalysis.draw.look import even_columns
from kdanalysis.draw.panels import panel_grid


@pytest.mark.parametrize(
    ("count", "lines", "columns"), [(1, 1, 1), (3, 1, 3), (4, 2, 2), (5, 2, 3), (7, 3, 3)]
)
def test_a_grid_has_so_many_axes(count, lines, columns):
    figure, axes = panel_grid(count, 3, 7.0, 1.5, 0.5)
    grid = axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (lines, columns)
    assert figure.axes == axes
    assert len(axes) == count
    assert figure.get_size_inches().tolist() == [7.0, 0.5 + 1.5 * lines]


def test_the_last_axes_of_every_column_say_the_shared_scale():
    _, axes = panel_grid(5, 3, 7.0, 1.5, 0.5)
    shown = [ax.xaxis.get_tick_params()["labelbottom"] for ax in axes]
    assert shown == [False, False, True, True, True]
    _, apart = panel_grid(4, 3, 7.0, 1.5, 0.5, sharex=False, sharey=False)
    assert not apart[0].get_shared_x_axes().joined(apart[0], apart[1])


@pytest.mark.parametrize(("count", "columns"), [(0, 1), (1, 1), (6, 6), (7, 4), (12, 6), (13, 5)])
def test_lines_of_at_most_six_are_filled_evenly(count, columns):
    assert even_columns(count, 6) == columns
