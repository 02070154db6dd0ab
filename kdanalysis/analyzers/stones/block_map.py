"""A heat map of blocks with a number in every cell, as gradients and alignment are drawn."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdanalysis.draw.look import INK, Axes, short, slant_ticks


def block_map(
    ax: Axes,
    cells: pd.DataFrame,
    texts: Sequence[Sequence[str]],
    label: str,
    most: float | None = None,
) -> None:
    """Draw cells from 0 up, dark ones large, each with its text; rows and columns by their names.

    Args:
        ax: axes to draw on.
        cells: the values; those that are NaN stay empty.
        texts: of every cell, row by row.
        label: of the bar of colours.
        most: end of its scale; the largest value if None.
    """
    image = ax.imshow(cells, cmap="viridis_r", vmin=0, vmax=most, aspect="auto")
    half = 0.5 * (cells.max(axis=None) if most is None else most)
    for (row, column), value in np.ndenumerate(cells):
        colour = "white" if value > half else INK
        ax.text(column, row, texts[row][column], ha="center", va="center", fontsize=9, color=colour)
    rows, columns = list(cells.index), list(cells.columns)
    ax.set_yticks(range(len(rows)), labels=[short(name) for name in rows], parse_math=False)
    ax.set_xticks(range(len(columns)), labels=[short(name) for name in columns], parse_math=False)
    if max(map(len, columns)) > 9:
        slant_ticks(ax)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.figure.colorbar(image, ax=ax, label=label)
