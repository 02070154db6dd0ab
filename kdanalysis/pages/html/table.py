"""A data frame as the rows and columns a template can write."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from kdanalysis.core.wording import minus, ranged
from kdanalysis.draw.text import format_column, is_numeric, to_number

FIRST_ROWS = 8
MOST_ROWS = 1000


@dataclass(frozen=True)
class Column:
    """Heading of a column, and whether it is right-aligned and sorted as numbers."""

    name: str
    numeric: bool


@dataclass(frozen=True)
class Table:
    """Everything the template needs of one frame; a row is the markup of its cells."""

    caption: str
    columns: list[Column]
    rows: list[Markup]
    total: int

    @property
    def first(self) -> int:
        """Rows shown before a reader asks for all; two more are not worth asking for."""
        return len(self.rows) if len(self.rows) <= FIRST_ROWS + 2 else FIRST_ROWS


def make_table(caption: str, frame: pd.DataFrame) -> Table:
    """Turn a frame into text, at most ``MOST_ROWS`` rows of it; the index is not shown."""
    shown = frame.head(MOST_ROWS)
    columns = [Column(str(name), is_numeric(shown[name])) for name in shown.columns]
    cells = [make_cells(shown[name]) for name in shown.columns]
    rows = [Markup("".join(row)) for row in zip(*cells, strict=True)]
    return Table(caption, columns, rows, len(frame))


def make_cells(column: pd.Series) -> list[str]:
    """Return the markup of one cell a row, without the end tags and quotes that HTML can spare.

    Where numbers would not be sorted as they are by their texts, a cell has its rank by full
    precision, equal ones alike; NaN has none.
    """
    texts = format_column(column)
    if column.name == "group":
        texts = list(map(ranged, texts))
    if not is_numeric(column):
        return [f"<td class=t>{escape(text)}" for text in texts]
    values, shown = (
        pd.Series([to_number(cell) for cell in cells], dtype=float) for cells in (column, texts)
    )
    ranks = values.rank(method="dense")
    texts = [minus(text) for text in texts]
    if not np.isinf(values).any() and ranks.equals(shown.rank(method="dense")):
        return [f"<td>{escape(text)}" for text in texts]
    return [
        f"<td{'' if np.isnan(rank) else f' data-rank={rank:.0f}'}>{escape(text)}"
        for text, rank in zip(texts, ranks, strict=True)
    ]
