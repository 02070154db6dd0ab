"""What belongs to a noun: heading, pictures, sentence and number, of one table or of several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Names = Sequence[str] | None
Pictures = tuple[tuple[str, Callable[..., Axes | Figure]], ...]


@dataclass(frozen=True)
class Joint:
    """(caption, drawing) pairs, sentence and number of several tables at once, by run.

    ``beside`` tells whether what each table shows alone follows, or is replaced.
    """

    pictures: Pictures
    sentence: Callable[..., str]
    number: Callable[..., str]
    beside: bool = True


@dataclass(frozen=True)
class Noun:
    """The heading of a section, its (caption, drawing) pairs, its sentence and its number.

    ``joint`` comes first where there are several tables; ``excerpt`` makes what a page shows of a
    table that is too long for it.
    """

    title: str
    pictures: Pictures
    sentence: Callable[..., str]
    number: Callable[..., str]
    joint: Joint | None = None
    excerpt: Callable[[pd.DataFrame], pd.DataFrame] | None = None


def named(function: Callable, table: object, classes: Names) -> object:
    """Call the function with the class names where it takes any."""
    takes = "names" in signature(function).parameters and classes is not None
    return function(table, names=classes) if takes else function(table)


def as_figure(drawn: Axes | Figure) -> Figure:
    """Return the figure that the axes belong to."""
    return drawn.figure if isinstance(drawn, Axes) else drawn
