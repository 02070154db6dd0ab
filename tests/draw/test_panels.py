"""Grids of axes hold as many as are asked for, and write shared scales below the last ones."""

import pytest

from kdanalysis.draw.panels import panel_grid


@pytest.mark.parametrize(
    ("count", "lines", "columns"), [(1, 1, 1), (3, 1, 3), (4, 2, 3), (7, 3, 3)]
)
def test_a_grid_has_so_many_axes(count, lines, columns):
    figure, axes = panel_grid(count, 3, 7.0, 1.5, 0.5)
    grid = axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (lines, columns)
    assert figure.axes == axes
    assert len(axes) == count
    assert figure.get_size_inches().tolist() == [7.0, 0.5 + 1.5 * lines]


def test_the_last_axes_of_every_column_say_the_shared_scale():
    _, axes = panel_grid(4, 3, 7.0, 1.5, 0.5)
    shown = [ax.xaxis.get_tick_params()["labelbottom"] for ax in axes]
    assert shown == [False, True, True, True]
    _, apart = panel_grid(4, 3, 7.0, 1.5, 0.5, sharex=False, sharey=False)
    assert not apart[0].get_shared_x_axes().joined(apart[0], apart[1])
