"""A data frame as the rows and columns a template can write."""

from dataclasses import dataclass

import pandas as pd

from kdanalysis.draw.text import format_column, is_numeric, to_number

FIRST_ROWS = 8
MOST_ROWS = 1000


@dataclass(frozen=True)
class Column:
    """Heading of a column, and whether it is right-aligned and sorted as numbers."""

    name: str
    numeric: bool


@dataclass(frozen=True)
class Cell:
    """Text of a cell and the full-precision value it is sorted by."""

    text: str
    value: str


@dataclass(frozen=True)
class Table:
    """Everything the template needs of one frame."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
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
    rows = [list(row) for row in zip(*cells, strict=True)]
    return Table(caption, columns, rows, len(frame))


def make_cells(column: pd.Series) -> list[Cell]:
    """Return one cell a row; the value sorted by is the number before rounding."""
    texts = format_column(column)
    values = [repr(to_number(cell)) for cell in column] if is_numeric(column) else texts
    return [Cell(text, value) for text, value in zip(texts, values, strict=True)]
