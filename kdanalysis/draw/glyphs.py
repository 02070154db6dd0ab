"""Letters that the font of a figure lacks: matplotlib says so at every measure, we once a page."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kdanalysis.core.warn import warn

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:  # loaded when something is drawn
    Figure = Any

SAID = r"Glyph (\d+) \(.*\) missing from font\(s\) (.*)\."  # by matplotlib
MOST_TOLD = 3  # texts


@contextmanager
def noted(lacking: dict[str, str]) -> Iterator[None]:
    """Let matplotlib say nothing of letters that a font lacks inside the block.

    Args:
        lacking: the letters come into it, each with the fonts that were searched.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", SAID)
        yield
    for one in caught:
        if found := re.fullmatch(SAID, str(one.message)):
            lacking[chr(int(found[1]))] = found[2]
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def tell_lacking(drawings: Iterable[tuple[Figure, dict[str, str]]]) -> None:
    """Warn once of all texts that lack letters.

    Args:
        drawings: figures that were laid out, each with what was :func:`noted` then; told once, it
            is forgotten.
    """
    from matplotlib.text import Text

    texts, fonts = {}, ""
    for figure, lacking in drawings:
        for text in figure.findobj(Text) if lacking else ():
            if lacking.keys() & {*text.get_text()}:
                texts[" ".join(text.get_text().split())] = None
        fonts = fonts or next(iter(lacking.values()), "")
        lacking.clear()
    if texts:
        told, more = [f"{one:.24}" for one in texts][:MOST_TOLD], len(texts) - MOST_TOLD
        others = f" and {more} more" if more > 0 else ""
        warn(
            f"{fonts} lacks letters of {', '.join(told)}{others}: PNG and PDF show boxes in their "
            "place, SVG and the page what the reader's fonts have; name a font that has them in "
            "matplotlib's font.family, as rcParams['font.family'] = ['DejaVu Sans', 'Noto Sans CJK "
            "JP'] or in a file matplotlibrc"
        )
