"""A figure as something a page can hold: inline SVG, or a PNG where there are too many marks."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from kdanalysis.core.cores import on_cores
from kdanalysis.draw.drawn import DOTS_PER_INCH
from kdanalysis.pages.html.section import Shown
from kdanalysis.pages.html.svg import clean_svg

MOST_MARKS = 5000


@dataclass(frozen=True)
class Picture:
    """A caption with either ``svg`` markup or the address of an embedded PNG, and its size."""

    caption: str
    svg: Markup | None = None
    png: str | None = None
    width: int = 0  # in CSS pixels
    height: int = 0
    name: str = ""  # of its files
    table: str = ""  # the section whose table it shows
    run: str = ""  # the run, or student, that it is of


def make_pictures(
    asked: Sequence[tuple[Shown, str, Sequence[str]]], others: Sequence[Callable[[], Any]] = ()
) -> tuple[list[Picture | None], list[Any]]:
    """Make and draw figures; None of one that is refused.

    Each comes with the prefix of its ids and the kinds of files to be had of it. Beside the
    pictures it returns what other tasks do, which processes share with these.
    """
    tasks = [partial(_drawn_picture, *one) for one in asked]
    made = on_cores([*tasks, *others])
    for (shown, *_), (_, *found) in zip(asked, made[: len(asked)], strict=True):
        shown.take(*found)
    return [picture for picture, *_ in made[: len(asked)]], made[len(asked) :]


def _drawn_picture(
    shown: Shown, prefix: str, kinds: Sequence[str]
) -> tuple[Picture | None, str | None, dict[str, bytes], dict[str, str]]:
    if shown.refusal is not None:
        return None, shown.refusal, {}, {}
    picture = make_picture(shown, prefix)
    for kind in kinds:
        shown.drawn.as_bytes(kind)
    return picture, None, shown.drawn.files, shown.drawn.lacking


def make_picture(shown: Shown, prefix: str) -> Picture:
    """Draw the figure; ``prefix`` keeps its ids apart from those of other figures."""
    if shown.drawn.marks <= MOST_MARKS:
        svg = Markup(clean_svg(shown.drawn.as_bytes("svg"), prefix))
        size = (round(side * 96) for side in (shown.drawn.box.width, shown.drawn.box.height))
        return Picture(shown.caption, svg, None, *size, shown.name, shown.table)
    return as_png(shown)


def as_png(shown: Shown) -> Picture:
    """Draw the figure as an embedded PNG."""
    png = shown.drawn.as_bytes("png")
    address = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    dots = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # of the file's header
    size = (side * 96 // DOTS_PER_INCH for side in dots)
    return Picture(shown.caption, None, address, *size, shown.name, shown.table)
