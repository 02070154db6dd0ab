"""What is asked of a table before it is drawn or read, and what it leaves out."""

import pandas as pd

from kdanalysis.core.wording import told


def state_left_out(table: pd.DataFrame) -> str:
    """Second line for an axis label that says how many samples the table leaves out, or nothing."""
    count = int(table.non_finite.max()) if "non_finite" in table and len(table) else 0
    return (
        f"\n({count:,} {'sample' if count == 1 else 'samples'} with NaN or inf left out)"
        if count
        else ""
    )


def require(table: pd.DataFrame, *columns: str, number: str | None = None) -> None:
    """Refuse a table that cannot be drawn or read.

    Raises:
        ValueError: a column is missing, there are no rows, or ``number`` is NaN in all of them.
    """
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"the table lacks {missing}, it has {list(table.columns)}")
    if table.empty:
        raise ValueError("the table has no rows, there is nothing to draw")
    if number is not None and table[number].isna().all():
        raise ValueError(
            f"the table has no value of {number!r}: all samples hold NaN or inf, or lack a "
            f"gradient or the label it needs"
        )


def require_once(table: pd.DataFrame, *columns: str) -> None:
    """Refuse a table of which two rows would be drawn as one thing.

    Raises:
        ValueError: two rows are equal in these columns; it says which.
    """
    keys = table[list(columns)]
    if (again := keys.duplicated()).any():
        which = ", ".join(f"{name} {told(value)}" for name, value in keys[again].iloc[0].items())
        raise ValueError(
            f"two rows of the table are of {which}: need one, as of runs with names of their own"
        )
