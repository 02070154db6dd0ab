"""Where a picture goes: a figure of its own, or a place that its user gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from kdanalysis.core.wording import told

host: ContextVar[Any] = ContextVar("host", default=None)


@contextmanager
def drawing_on(place: Any) -> Iterator[None]:
    """Let what is drawn inside use a figure or subfigure of the caller's in place of its own."""
    token = host.set(place)
    try:
        yield
    finally:
        host.reset(token)


def check_place(ax: Any) -> None:
    """Raise a ValueError where it is neither axes nor a figure or a part of one."""
    if not (hasattr(ax, "subplots") or hasattr(ax, "get_subplotspec")):
        raise ValueError(f"ax must be axes, a subfigure or a figure to draw on, got {told(ax)}")


def place_for(ax: Any) -> Any:
    """Return a figure or subfigure as it is, and for axes of a grid a subfigure in their place.

    Raises:
        ValueError: the axes stand in no grid.
    """
    if hasattr(ax, "subplots"):
        return ax
    spec = ax.get_subplotspec()
    if spec is None:
        raise ValueError(
            "a drawing of several axes needs a subfigure, or axes of a grid such as plt.subplots "
            "makes: these axes stand freely"
        )
    figure = ax.figure
    ax.remove()
    return figure.add_subfigure(spec)
