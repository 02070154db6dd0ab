"""A figure as something a page can hold: inline SVG, or a PNG where there are too many marks."""

import base64
import io
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from kdanalysis.pages.html.svg import clean_svg, count_marks, draw_svg

MOST_MARKS = 5000
DOTS_PER_INCH = 160  # sharp on paper, small in a page


@dataclass(frozen=True)
class Picture:
    """A caption with either ``svg`` markup or the address of an embedded PNG, and its width."""

    caption: str
    svg: Markup | None = None
    png: str | None = None
    width: int = 0  # of the PNG, in CSS pixels


def make_picture(caption: str, figure: Figure, prefix: str) -> Picture:
    """Draw the figure; ``prefix`` keeps its ids apart from those of other figures."""
    root = draw_svg(figure)
    if count_marks(root) <= MOST_MARKS:
        return Picture(caption, svg=Markup(clean_svg(root, prefix)))
    png = draw_png(figure)
    address = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    return Picture(caption, png=address, width=png_width(png) * 96 // DOTS_PER_INCH)


def draw_png(figure: Figure) -> bytes:
    """Return the figure on white paper, without a trace of when or by what it was drawn."""
    buffer = io.BytesIO()
    settings = {"dpi": DOTS_PER_INCH, "bbox_inches": "tight", "facecolor": "white"}
    figure.savefig(buffer, format="png", metadata={"Software": None}, **settings)
    return buffer.getvalue()


def png_width(png: bytes) -> int:
    """Read the width in dots from the file's header."""
    return int.from_bytes(png[16:20], "big")
