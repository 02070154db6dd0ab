"""Ticks of a figure that changes no more, worked out once though every measure asks for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kdanalysis.draw.look import Figure

ASKED = ("_update_ticks", "_get_ticklabel_bboxes")  # by every measure, several times over


@contextmanager
def still(figure: Figure) -> Iterator[None]:
    """Let the axes of a figure keep their ticks, and where the labels of those stand.

    To lay out a figure and to draw it, matplotlib makes locators, formatters and texts of every
    axis anew some twenty times. Inside this block they are made anew only where the limits or the
    room for ticks change, and the texts measured anew only where the axes move. Nothing looks
    other than without it.

    Args:
        figure: nothing in it but places, sizes and resolution changes inside the block.
    """
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    for axis in axes:
        axis._update_ticks = _kept_ticks(axis)
        axis._get_ticklabel_bboxes = _kept_boxes(axis)
    try:
        yield
    finally:
        for axis in axes:
            for name in ASKED:
                delattr(axis, name)


def _kept_ticks(axis: Any) -> Callable[[], list]:
    work_out = axis._update_ticks
    known: dict[tuple, list] = {}

    def ticks() -> list:
        key = (*axis.get_view_interval(), axis.get_tick_space())
        if key not in known:
            known.clear()  # the ticks are the same things with other texts
            known[key] = work_out()
        return known[key]

    return ticks


def _kept_boxes(axis: Any) -> Callable[[list, Any], tuple[list, list]]:
    measure = axis._get_ticklabel_bboxes
    known: dict[tuple, tuple[list, list]] = {}

    def boxes(ticks: list, renderer: Any) -> tuple[list, list]:
        key = (*axis.axes.bbox.bounds, axis.get_figure().dpi, id(renderer), *map(id, ticks))
        if key not in known:
            known.clear()
            known[key] = measure(ticks, renderer)
        return known[key]

    return boxes
