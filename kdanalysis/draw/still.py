"""Ticks and spines of a figure that changes no more, worked out once though every measure asks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kdanalysis.draw.look import Axes, Figure


@contextmanager
def still(figure: Figure) -> Iterator[None]:
    """Let the axes of a figure keep their ticks, where their labels stand, and their spines.

    To lay out a figure and to draw it, matplotlib makes locators, formatters and texts of every
    axis anew some twenty times, and measures a spine as often. Inside this block ticks are made
    anew only where the limits or the room for them change, and the rest is measured anew only where
    the axes move. Nothing looks other than without it.

    Args:
        figure: nothing in it but places, sizes and resolution changes inside the block.
    """
    kept = [one for ax in figure.axes for one in _kept_by(ax)]
    for owner, name, key in kept:
        setattr(owner, name, _once(getattr(owner, name), key))
    try:
        yield
    finally:
        for owner, name, *_ in kept:
            delattr(owner, name)


def _kept_by(ax: Axes) -> Iterator[tuple[Any, str, Callable[..., tuple]]]:
    """Yield whom every measure asks, the method that it asks, and what the answer hangs on."""

    def place(*_: Any) -> tuple:
        return *ax.bbox.bounds, ax.get_figure().dpi

    def place_and_limits(*_: Any) -> tuple:
        return *place(), *ax.viewLim.bounds

    def place_and_ticks(ticks: list, renderer: Any) -> tuple:
        return *place(), id(renderer), *map(id, ticks)

    for axis in (ax.xaxis, ax.yaxis):
        yield axis, "get_tick_space", place
        yield axis, "_update_ticks", _limits_and_room(axis)
        yield axis, "_get_ticklabel_bboxes", place_and_ticks
    for spine in ax.spines.values():
        yield spine, "get_window_extent", place_and_limits


def _limits_and_room(axis: Any) -> Callable[[], tuple]:
    return lambda: (*axis.get_view_interval(), axis.get_tick_space())


def _once(work_out: Callable, key: Callable[..., tuple]) -> Callable:
    """Return a function that works out anew only where the key of its arguments is another."""
    known: dict[tuple, Any] = {}

    def found(*given: Any) -> Any:
        now = key(*given)
        if now not in known:
            known.clear()  # ticks are the same things with other texts
            known[now] = work_out(*given)
        return known[now]

    return found
