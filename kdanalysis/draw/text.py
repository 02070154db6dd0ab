"""Numbers as people read them: one number of decimals a column, nothing rounded to zero."""

import math
import re

import numpy as np
import pandas as pd
from pandas.api import types

NUMERAL = re.compile(r"-?(\d[\d,]*(\.\d+)?(e[+-]?\d+)?|inf)|NaN")


def is_numeric(column: pd.Series) -> bool:
    """Whether the column holds numbers, or texts that all read as numbers but for empty ones.

    Truth values are no numbers.
    """
    if types.is_bool_dtype(column) or types.is_numeric_dtype(column):
        return not types.is_bool_dtype(column)
    cells = [cell for cell in column if isinstance(cell, str) and cell]
    numerals = all(NUMERAL.fullmatch(cell) for cell in cells)
    return bool(cells) and numerals and all(isinstance(cell, str) for cell in column)


def to_number(cell: object) -> float:
    """Return the value that a cell of a numeric column shows; NaN for an empty one."""
    if isinstance(cell, str):
        return float(cell.replace(",", "") or "nan")
    return math.nan if cell is pd.NA else float(cell)


def format_number(value: float, digits: int = 4) -> str:
    """Return ``value`` with ``digits`` significant digits; NaN and infinities by name."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(float(value))
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{int(value):,}"
    if 1 <= abs(value) < 1e6:
        return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
    return f"{value:.{digits}g}"


def format_column(column: pd.Series) -> list[str]:
    """Return the cells as text; numbers of similar size share their number of decimals."""
    if types.is_bool_dtype(column) or not types.is_numeric_dtype(column):
        return [
            "" if missing else str(cell)
            for cell, missing in zip(column, column.isna(), strict=True)
        ]
    if types.is_integer_dtype(column):
        return ["NaN" if cell is pd.NA else f"{int(cell):,}" for cell in column]
    values = column.to_numpy(dtype=float, na_value=np.nan)
    decimals = shared_decimals(values)
    if decimals is None:
        return [format_number(value) for value in values]
    return [f"{v:,.{decimals}f}" if math.isfinite(v) else format_number(v) for v in values]


def shared_decimals(values: np.ndarray) -> int | None:
    """Decimals for four digits of the largest value; None where that would hide small ones."""
    finite = np.abs(values[np.isfinite(values) & (values != 0)])
    if finite.size == 0 or finite.max() >= 1e6 or finite.min() < 1e-3 * finite.max():
        return None
    if (finite == np.round(finite)).all():
        return 0
    return int(np.clip(3 - np.floor(np.log10(finite.max())), 0, 7))
