"""What a page is made of: sections with tiles, pictures and tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Shown:
    """A figure with its caption, the name of its files, and the section whose table it shows."""

    caption: str
    figure: Figure
    name: str
    table: str = ""  # the section it stands in, if not said

    @cached_property
    def drawn(self) -> Drawn:
        """The figure as page and files show it: laid out once."""
        return Drawn(self.figure)


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
    """

    name: str
    title: str
    text: str = ""
    number: str = ""
    figures: Sequence[Shown] = ()
    tables: Sequence[tuple[str, pd.DataFrame]] = ()
    tiles: Sequence[Tile] = ()
    group: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            raise ValueError(
                f"section name {self.name!r} cannot be an anchor: need a letter, then letters, "
                "digits, - or _"
            )
