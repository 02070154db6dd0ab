"""Names beside the axes keep the order of their points, and their distance from each other."""

from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from kdanalysis.draw.beside import apart, names_beside
from kdanalysis.draw.colours import BLACK
from kdanalysis.draw.look import new_axes


@pytest.mark.parametrize(
    ("heights", "gap", "expected"),
    [
        ([0.2, 0.8], 0.1, [0.2, 0.8]),  # far enough already
        ([0.5, 0.5, 0.5], 0.1, [0.4, 0.5, 0.6]),
        ([1.0, 0.99, 0.1], 0.2, [1.0, 0.8, 0.1]),  # no room above: those below give way
        ([0.2, 0.25, 0.9], 0.15, [0.15, 0.3, 0.9]),  # both give way alike
        ([0.3, 0.3, 0.3], 0.9, [0.0, 0.5, 1.0]),  # too many for the height
        ([0.4], 0.5, [0.4]),
    ],
)
def test_heights_move_apart_by_the_gap_in_their_order(heights, gap, expected):
    assert apart(heights, gap) == pytest.approx(expected)


def test_long_names_of_equal_points_do_not_overlap():
    ax = new_axes(5, 3)
    ax.set(xscale="log", xlim=(0.1, 10), ylim=(0, 1))
    names = [f"gdkd:k={k},weights=1/1/{k}" for k in range(8)]
    names_beside(ax, names, [(1.0, 0.5)] * 8)
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in ax.texts]
    assert all(above.y0 > below.y1 for below, above in pairwise(boxes))
    assert all(box.x0 > ax.bbox.x1 and box.x1 <= ax.figure.bbox.x1 for box in boxes)
    assert [text.get_text() for text in ax.texts] == names
    assert {text.get_color() for text in ax.texts} == {BLACK}
