"""Noun: one idea with its heading, its pictures, its sentence and its number, known by its name.

Whoever imports the file of a noun adds it to ``NOUNS``: the tables of runs and files, the command
line and the pages find it there. A noun that sums over samples is an ``Analyzer``; others read a
table that something else makes.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from textwrap import shorten
from typing import Any, ClassVar, NamedTuple

import pandas as pd

from kdanalysis.core.arguments import fitted, typed
from kdanalysis.core.wording import Named
from kdanalysis.draw.colours import let_name_colours
from kdanalysis.draw.labels import relabel
from kdanalysis.draw.look import Axes, Figure, styled
from kdanalysis.draw.place import check_place, drawing_on, place_for
from kdanalysis.losses import term_colour_of

let_name_colours(term_colour_of)  # a term has the colour that its loss gives it

MOST_LISTED = 320  # letters of the names of tables in an error
NOUNS: dict[str, type["Noun"]] = Named()
Names = Sequence[str] | None
Tables = Mapping[str, pd.DataFrame]


@typed
class Reading(NamedTuple):
    """What to read in a table, and the number behind it with its unit, from one computation."""

    sentence: str
    number: str = ""


class Picture(NamedTuple):
    """A caption and a drawing, ``draw(table, ax=None)``; whether it takes ``names`` of classes.

    A drawing of several axes takes no ``ax``: it is given a place by ``panels``. ``name`` is that
    of its files, where the drawing's own would not do.
    """

    caption: str
    draw: Callable[..., Axes | Figure]
    names: bool = False
    panels: bool = False
    name: str = ""

    @typed
    def of(
        self,
        table: Any,
        names: Names = None,
        /,
        ax: Any = None,
        labels: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Any:
        """Draw a table, or tables by name, in a place of the caller's or a figure of its own.

        Args:
            table: or tables by name.
            names: one a class.
            ax: axes, a subfigure or a figure to draw on. A drawing of several axes puts a subfigure
                in the place of axes.
            labels: how to write terms and losses, such as ``{"low_other": "$L_{other}$"}``.
            **options: of the drawing, such as ``temperature`` of a sweep.

        Returns:
            The axes drawn on, a list where there are several; the figure where no ``ax`` was given
            to a drawing of several.

        Raises:
            ValueError: the table holds nothing to draw, the drawing has no such option, or the
                axes of a drawing of several stand in no grid.
        """
        _, *known = signature(self.draw).parameters.values()
        own = [one.name for one in known if one.name not in ("ax", "names")]
        unknown = [name for name in options if name not in own]
        if unknown and all(one.kind is not Parameter.VAR_KEYWORD for one in known):
            there = ", ".join(["labels", *own])
            raise ValueError(f"{unknown[0]} is no option of this picture: it has {there}")
        options |= {"names": names} if self.names and names else {}
        if ax is not None:
            check_place(ax)
        if ax is None:
            shown = drawn = self.draw(table, **options)
        elif self.panels:
            host = place_for(ax)
            with drawing_on(host):
                shown = self.draw(table, **options)
            drawn = list(host.axes)
        else:
            shown = drawn = self.draw(
                table, ax=ax.subplots() if hasattr(ax, "subplots") else ax, **options
            )
        relabel(figure_of(shown) if ax is None else shown, labels or {})
        return drawn

    def figure(self, table: Any, names: Names = None) -> Figure:
        """Draw a table, or tables by name, and return the figure."""
        return figure_of(self.of(table, names))


def last_epoch(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last epoch, or all where there are no epochs."""
    return table[table.epoch == table.epoch.max()] if "epoch" in table else table


def figure_of(drawn: Axes | Figure) -> Figure:
    """Return the figure that was drawn, or in which the axes stand."""
    return getattr(drawn, "figure", None) or drawn


class Noun:
    """What belongs to one table: set ``noun`` and ``title``, attach readings and pictures.

        class Distance(Analyzer):
            noun, title = "distance", "Distance of the logits"

        @Distance.reads()
        def distance_reading(table): ...

        @Distance.picture("Distance over training")
        def distance_over_training(table, ax=None): ...

    What is attached ``of_all`` takes the tables of several runs by their names, and stands before
    what each table shows alone, or in its place where ``beside`` is False.
    """

    noun: ClassVar[str] = ""
    title: ClassVar[str] = ""
    beside: ClassVar[bool] = True
    pictures: ClassVar[tuple[Picture, ...]] = ()
    pictures_of_all: ClassVar[tuple[Picture, ...]] = ()
    reading: ClassVar[Callable[..., Reading] | None] = None
    reading_of_all: ClassVar[Callable[..., Reading] | None] = None
    excerpt: ClassVar[Callable[[pd.DataFrame], pd.DataFrame] | None] = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if name := vars(cls).get("noun"):
            known = NOUNS.get(name)
            if known is not None and known.__qualname__ != cls.__qualname__:
                raise ValueError(f"{cls.__name__} and {known.__name__} are both named {name!r}")
            NOUNS[name] = cls

    @classmethod
    def picture(
        cls, caption: str, *, of_all: bool = False, names: bool = False, panels: bool = False
    ) -> Callable[[Callable], Callable]:
        """Attach a drawing; it runs under the settings that all figures share.

        Args:
            caption: what it shows.
            of_all: it draws the tables of several runs, by name.
            names: it takes ``names``, one a class.
            panels: it draws several axes, so takes no ``ax``, and returns the figure.
        """

        def attach(draw: Callable) -> Callable:
            drawn = styled(draw)
            place = "pictures_of_all" if of_all else "pictures"
            setattr(cls, place, (*getattr(cls, place), Picture(caption, drawn, names, panels)))
            return drawn

        return attach

    @classmethod
    def reads(cls, *, of_all: bool = False, names: bool = False) -> Callable[[Callable], Callable]:
        """Attach the function that reads a table, or with ``of_all`` the tables of several runs."""

        def attach(read: Callable) -> Callable:
            def reading(table: Any, classes: Names = None) -> Reading:
                fitted(f"{cls.noun}: table", table, Mapping if of_all else pd.DataFrame)
                return read(table, names=classes) if names and classes else read(table)

            setattr(cls, "reading_of_all" if of_all else "reading", staticmethod(reading))
            return read

        return attach

    @classmethod
    def shortens(cls, excerpt: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable:
        """Attach what a page shows of a table that is too long for it."""
        cls.excerpt = staticmethod(excerpt)
        return excerpt

    @classmethod
    @typed
    def draw(
        cls,
        table: pd.DataFrame,
        ax: Axes | None = None,
        names: Names = None,
        *,
        picture: int = 0,
    ) -> Any:
        """Draw a picture of a table, the first if not said, on axes or in a figure of its own.

        Raises:
            ValueError: there is no picture, or as the drawing.
        """
        if not 0 <= picture < len(cls.pictures):
            raise ValueError(f"the table {cls.noun!r} has no picture {picture} of its own")
        drawn = cls.pictures[picture].of(table, names, ax)
        return drawn if ax is not None else figure_of(drawn)


def find_noun(name: str, known: Sequence[str], there: Callable[[], Names] = tuple) -> type[Noun]:
    """Return the noun of a name.

    Args:
        name: of the table.
        known: all names that may be asked for.
        there: gives the names to list in an error; all known ones if it gives none.

    Raises:
        ValueError: it is none of those known; the nearest is offered.
    """
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        listed = shorten(", ".join(there() or known), MOST_LISTED, placeholder=" ...")
        raise ValueError(f"no table {name[:40]!r}; {hint}there are: {listed}")
    return NOUNS[name]
