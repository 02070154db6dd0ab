"""Marks that figures share: heat maps with texts in their cells, lines with and without a band."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kdanalysis.draw.colours import CYCLE, DASHES, GREY, INK, ink_on
from kdanalysis.draw.look import Axes, fine, slant_ticks
from kdanalysis.draw.names import short

Values = Sequence[float | int] | np.ndarray | pd.Series

WRITTEN = 0.035  # narrower segments have no room for their number
MARKED = 40  # a line of fewer points has a marker at each


def heat_map(
    ax: Axes,
    cells: np.ndarray,
    texts: Mapping[tuple[int, int], str],
    dark: Callable[[float], bool],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    longest: int = 9,
    ink: str = INK,
    **look: Any,
) -> Any:
    """Draw cells as colours with texts in them, and return the image, which a colour bar takes.

    Args:
        ax: axes to draw on.
        cells: a value by row and column, NaN for an empty cell.
        texts: by (row, column); grey in empty cells, where any paper shines through.
        dark: whether a value's colour is so dark that its text is white.
        rows: names beside the axes, up to 24 letters of each; no ticks where there are none.
        columns: names below them; turned where one is longer than ``longest``.
        longest: most letters of names that stand side by side.
        ink: colour of the texts on light cells.
        look: of the cells, as ``imshow`` takes it; their aspect is "auto" unless given.
    """
    for (row, column), text in texts.items():
        empty = np.isnan(cells[row, column])
        colour = GREY if empty else "white" if dark(cells[row, column]) else ink
        ax.text(column, row, text, ha="center", va="center", fontsize=fine(), color=colour)
    image = ax.imshow(cells, **({"aspect": "auto"} | look))
    rows, columns = ([short(name, 24, names) for name in names] for names in (rows, columns))
    ax.set_yticks(range(len(rows)), labels=rows, parse_math=False)
    ax.set_xticks(range(len(columns)), labels=columns, parse_math=False)
    if max(map(len, columns), default=0) > longest:
        slant_ticks(ax)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return image


def cosine_map(
    ax: Axes, cells: np.ndarray, texts: Mapping[tuple[int, int], str], *names: Any, **more: Any
) -> Any:
    """Draw a :func:`heat_map` of cosines, blue for 1 and red for -1."""
    scale = {"cmap": "RdBu", "vmin": -1, "vmax": 1}
    return heat_map(ax, cells, texts, lambda cosine: abs(cosine) > 0.55, *names, **scale, **more)


def block_map(
    ax: Axes, cells: pd.DataFrame, texts: Sequence[Sequence[str]], label: str, most: float | None
) -> None:
    """Draw a :func:`heat_map` of cells from 0 up, dark ones large, with a bar of its colours.

    Args:
        ax: axes to draw on.
        cells: the values, rows and columns by their names; those that are NaN stay empty.
        texts: of every cell, row by row.
        label: of the bar of colours.
        most: end of its scale; the largest value if None.
    """
    half = 0.5 * (cells.max(axis=None) if most is None else most)
    rows, columns = cells.index, cells.columns
    names = [[short(one, among=of) for one in of] for of in (rows, columns)]
    places = {place: texts[place[0]][place[1]] for place in np.ndindex(cells.shape)}
    scale = {"cmap": "viridis_r", "vmin": 0, "vmax": most}
    image = heat_map(ax, cells.to_numpy(), places, lambda value: value > half, *names, **scale)
    ax.figure.colorbar(image, ax=ax, label=label)


def stacked_bars(
    ax: Axes, place: Values, widths: Values, left: Values, height: float, color: str, **look: Any
) -> None:
    """Draw segments of horizontal bars, in percent, each with its number where it has room."""
    more = {"edgecolor": "white", "linewidth": 0.8} | look
    bars = ax.barh(place, widths, left=left, height=height, color=color, **more)
    texts = [f"{width:.0f}" if width >= 100 * WRITTEN else "" for width in widths]
    ax.bar_label(bars, texts, label_type="center", color=ink_on(color), weight="bold")


def shares_up_to(
    ax: Axes, low: Values, high: Values, shares: Values, ends: tuple[float, float], **look: Any
) -> None:
    """Draw what share lies up to every value, in percent: 0 at the first end, 100 at the last.

    Exact at the edges of the bins; inside one the samples are taken as even.

    Args:
        ax: axes to draw on.
        low: lower edges of the bins that hold something, rising, as far as -inf.
        high: their upper edges, as far as inf.
        shares: of every such bin; together they are 1.
        ends: of what is drawn.
        look: as ``plot`` takes it.
    """
    edges = np.clip(np.stack([low, high], -1).ravel(), *ends)
    up_to = np.cumsum(shares)
    parts = np.stack([up_to - shares, up_to], -1).ravel()
    ax.plot(np.r_[ends[0], edges, ends[1]], 100 * np.r_[0, parts, 1], **look)


def banded_line(
    ax: Axes,
    x: Values,
    middle: Values,
    low: Values,
    high: Values,
    color: str | tuple,
    alpha: float = 0.13,
    **look: Any,
) -> None:
    """Draw a line over the band from ``low`` to ``high`` in its colour; ``look`` as ``plot``'s."""
    ax.fill_between(x, low, high, color=color, alpha=alpha, linewidth=0)
    ax.plot(x, middle, color=color, **look)


def line_look(place: int, points: int) -> dict[str, Any]:
    """Colour and dashes of the line of this place, with markers where its points are few."""
    return {
        "color": CYCLE[place % len(CYCLE)],
        "linestyle": DASHES[place // len(CYCLE) % len(DASHES)],
        "marker": "o" if points < MARKED else None,
    }
