"""What a page is made of: sections with tiles, pictures and tables."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from kdanalysis.draw.drawn import Drawn
from kdanalysis.draw.look import Figure

ASIDE = "aside"  # of sections that stand collapsed at the end


@dataclass(frozen=True)
class Tile:
    """One number a reader should see first."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """What a section says of some of its figures, where these data let all of them be drawn."""

    text: str = ""
    number: str | None = None
    where: str = ""  # the run, as the text begins

    def refused(self, why: str) -> str:
        """Return what is said instead."""
        return f"{self.where}Not to be drawn from these data: {why}."


@dataclass(frozen=True)
class Shown:
    """A figure with its caption, the name of its files, and the section whose table it shows.

    It is made when it is first needed, in whichever process draws it.
    """

    caption: str
    make: Callable[[], Figure]
    name: str
    table: str = ""  # the section it stands in, if not said
    part: Part | None = None  # of that section; without one, it must be possible to draw it

    @cached_property
    def drawn(self) -> Drawn:
        """The figure as page and files show it: made and laid out once."""
        return Drawn(self.make)

    @property
    def figure(self) -> Figure:
        """The figure."""
        return self.drawn.figure

    @cached_property
    def refusal(self) -> str | None:
        """Why these data do not let it be drawn; None where they do."""
        try:
            return None if self.part is None or self.figure else ""
        except ValueError as error:
            return str(error)

    def take(self, refusal: str | None, files: dict[str, bytes], lacking: dict[str, str]) -> None:
        """Have what came of this in another process."""
        vars(self)["refusal"] = refusal
        self.drawn.take(files, lacking)


@dataclass(frozen=True)
class Section:
    """One question and its answer: what to read, the number behind it, the picture, the data.

    Args:
        name: anchor in the page's address, unique in a page: letters, digits, ``-`` and ``_``.
        title: heading.
        text: what to read in the pictures; one paragraph a line.
        number: the number behind the picture, with its unit; empty for none.
        figures: the pictures.
        tables: (caption, frame) pairs.
        tiles: key numbers above everything else.
        group: heading under which it stands with others; ``ASIDE`` for the collapsed end.
        parts: of which text and number are made, where figures may turn out not to be drawn.
    """

    name: str
    title: str
    text: str = ""
    number: str = ""
    figures: Sequence[Shown] = ()
    tables: Sequence[tuple[str, pd.DataFrame]] = ()
    tiles: Sequence[Tile] = ()
    group: str = ""
    parts: Sequence[Part] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            raise ValueError(
                f"section name {self.name!r} cannot be an anchor: need a letter, then letters, "
                "digits, - or _"
            )

    def settled(self) -> "Section":
        """Return what is left where figures cannot be drawn: of their parts it is said why."""
        refused: dict[Part | None, str] = {}
        for one in self.figures:
            if one.refusal is not None:
                refused.setdefault(one.part, one.refusal)
        if not refused:
            return self
        text = self.text
        for part in self.parts:
            if part in refused:
                why = part.refused(refused[part])
                text = text.replace(part.text, why) if part.text else f"{text}\n{why}".lstrip()
        number = numbers(part for part in self.parts if part not in refused)
        figures = [one for one in self.figures if one.part not in refused]
        return replace(self, text=text, number=number, figures=figures)


def numbers(parts: Iterable[Part]) -> str:
    """Return the numbers of parts, a line each."""
    return "\n".join(part.number for part in parts if part.number is not None)
