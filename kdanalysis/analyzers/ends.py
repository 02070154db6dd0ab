"""Columns low and high: the 95 % interval of every row of a table, for its dots."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.evidence import jackknife, wilson
from kdanalysis.analyzers.student_t import wide


def with_share_ends(table: pd.DataFrame, share: str) -> pd.DataFrame:
    """Add the ends of a share of n samples (:func:`~kdanalysis.analyzers.evidence.wilson`)."""
    ends = [wilson(*row) for row in zip(table[share], table.n, strict=True)]
    low, high = np.reshape(ends, (-1, 2)).T
    return table.assign(low=low, high=high)


def with_ends(table: pd.DataFrame, value: str, error: pd.Series, log: bool = False) -> pd.DataFrame:
    """Add the ends of Student's interval of a mean over n samples; NaN of one.

    Args:
        table: with a column n.
        value: the column of means.
        error: their standard errors.
        log: take the interval of the logarithm, whose ends are above 0.
    """
    half = error * [wide(n) if n > 0 else np.nan for n in table.n]
    middle = table[value]
    if log:
        far = np.exp(half / middle.where(middle > 0))
        return table.assign(low=middle / far, high=middle * far)
    return table.assign(low=middle - half, high=middle + half)


def left_out(
    rows: pd.DataFrame, names: list[str], parts: tuple[str, str], group: str, log: bool = False
) -> pd.DataFrame:
    """Return one sum over another by names, with its interval by the jackknife over a column.

    The ratio stands in a column ``ratio``; low and high are NaN where there are fewer than three
    groups, or one of them holds all that the ratio needs.

    Args:
        rows: with the columns that are named.
        names: the columns that tell the ratios apart.
        parts: the columns that are summed, the upper first.
        group: the column whose entries are left out in turn, such as the captured steps.
        log: take the interval of the logarithm.
    """
    over, under = parts
    sums = rows.groupby([*names, group], sort=False)[list(parts)].sum()
    each = sums.groupby(names, sort=False)
    rest, whole = each.transform("sum") - sums, each.sum()
    scale, back = (np.log, np.exp) if log else (np.positive, np.positive)
    with np.errstate(divide="ignore", invalid="ignore"):
        left, ratio = (one[over] / one[under].where(one[under] > 0) for one in (rest, whole))
        left, middle = scale(left), scale(ratio)
    left = dict(iter(left.groupby(level=names, sort=False)))
    half = [jackknife(one, left[key]).half for key, one in middle.items()]
    ends = {"low": back(middle - half), "high": back(middle + half)}
    return pd.DataFrame({"ratio": ratio, **ends}).reset_index()
