"""A figure as something a page can hold: inline SVG, or a PNG where there are too many marks."""

import base64
from dataclasses import dataclass

from markupsafe import Markup

from kdanalysis.draw.drawn import DOTS_PER_INCH
from kdanalysis.pages.html.section import Shown
from kdanalysis.pages.html.svg import clean_svg

MOST_MARKS = 5000


@dataclass(frozen=True)
class Picture:
    """A caption with either ``svg`` markup or the address of an embedded PNG, and its width."""

    caption: str
    svg: Markup | None = None
    png: str | None = None
    width: int = 0  # of the PNG, in CSS pixels


def make_picture(shown: Shown, prefix: str) -> Picture:
    """Draw the figure; ``prefix`` keeps its ids apart from those of other figures."""
    if shown.drawn.marks <= MOST_MARKS:
        return Picture(shown.caption, svg=Markup(clean_svg(shown.drawn.as_bytes("svg"), prefix)))
    png = shown.drawn.as_bytes("png")
    address = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    return Picture(shown.caption, png=address, width=png_width(png) * 96 // DOTS_PER_INCH)


def png_width(png: bytes) -> int:
    """Read the width in dots from the file's header."""
    return int.from_bytes(png[16:20], "big")
