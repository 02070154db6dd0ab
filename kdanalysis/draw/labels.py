"""Names of terms and losses in a figure as its user wants to read them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kdanalysis.draw.look import Axes


def relabel(shown: Any, labels: Mapping[str, str]) -> None:
    """Write every name in the texts of a figure, or of axes, as the mapping says.

    A name is replaced where it stands as a whole word, also in ``gdkd: low_other``. The new text
    may hold formulas, such as ``$L_{other}$``.

    Args:
        shown: a figure, a subfigure or axes.
        labels: what to write, by name.
    """
    names = sorted(labels, key=len, reverse=True)
    if not names:
        return
    pattern = re.compile(rf"(?<![\w$])({'|'.join(map(re.escape, names))})(?!\w)")

    def write(text: str) -> str:
        return pattern.sub(lambda found: labels[found[1]], text)

    for ax in _all_axes(shown):
        _relabel_ticks(ax, write)
    for text in _texts(shown):
        if (new := write(text.get_text())) != text.get_text():
            text.set(text=new, parse_math=True)


def _all_axes(shown: Any) -> list[Axes]:
    return [shown] if hasattr(shown, "get_xaxis") else list(shown.axes)


def _relabel_ticks(ax: Axes, write: Any) -> None:
    """Ticks write their texts anew at every drawing: those that change are fixed."""
    for axis in (ax.xaxis, ax.yaxis):
        old = [text.get_text() for text in axis.get_ticklabels()]
        if (new := [write(text) for text in old]) != old:
            look = axis.get_ticklabels()[0]
            kept = {"rotation": look.get_rotation(), "ha": look.get_ha(), "va": look.get_va()}
            kept |= {"rotation_mode": look.get_rotation_mode(), "parse_math": True}
            axis.set_ticks(axis.get_ticklocs(), labels=new, **kept)


def _texts(shown: Any) -> Iterator[Any]:
    """Texts of a figure or axes but those of ticks, its colour bars and legends included."""
    from matplotlib.text import Text

    ticks = {
        id(text)
        for ax in _all_axes(shown)
        for axis in (ax.xaxis, ax.yaxis)
        for text in axis.get_ticklabels()
    }
    return (text for text in shown.findobj(Text) if id(text) not in ticks)
