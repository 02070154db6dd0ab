"""Dots have the 95 % interval that their rows give them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdanalysis.analyzers.ends import left_out, with_ends, with_share_ends


def test_shares_have_wilsons_ends_row_by_row():
    table = pd.DataFrame({"right": [0.0, 0.25, 0.9], "n": [40, 40, 10]})
    found = with_share_ends(table, "right")
    for row in found.itertuples():
        test = stats.binomtest(round(row.right * row.n), row.n)
        ends = test.proportion_ci(method="wilson")
        assert (row.low, row.high) == pytest.approx(tuple(ends), abs=1e-4)
    unknown = with_share_ends(table.assign(right=np.nan), "right")
    assert unknown[["low", "high"]].isna().all(axis=None)


def test_means_have_students_interval_and_one_sample_has_none():
    table = pd.DataFrame({"mean": [2.0, 2.0, 2.0], "std": 0.5, "n": [1, 4, 400]})
    found = with_ends(table, "mean", table["std"] / table.n**0.5)
    assert np.isnan(found.low[0])
    half = [stats.t.ppf(0.975, n - 1) * 0.5 / n**0.5 for n in (4, 400)]
    assert (found.high[1:] - 2).tolist() == pytest.approx(half, rel=1e-3)
    assert (2 - found.low[1:]).tolist() == pytest.approx(half, rel=1e-3)


def test_on_a_logarithmic_axis_the_ends_are_above_0():
    table = pd.DataFrame({"mean": [0.1, 0.0], "n": [4, 4]})
    found = with_ends(table, "mean", pd.Series([0.1, 0.1]), log=True)
    far = np.exp(stats.t.ppf(0.975, 3))
    assert (found.low[0], found.high[0]) == pytest.approx((0.1 / far, 0.1 * far), rel=1e-3)
    assert np.isnan(found.low[1])


def test_one_sum_over_another_has_the_jackknifes_interval_over_groups():
    over, under = np.array([3.0, 5.0, 4.0, 9.0]), np.array([2.0, 2.0, 3.0, 4.0])
    rows = pd.DataFrame({"run": "kd", "term": "ce", "step": [0, 1, 2, 3], "a": over, "b": under})
    (found,) = left_out(rows, ["run", "term"], ("a", "b"), "step", log=True).itertuples()
    left = np.log([np.delete(over, i).sum() / np.delete(under, i).sum() for i in range(4)])
    half = stats.t.ppf(0.975, 3) * np.sqrt(3 * np.var(left))
    assert found.ratio == pytest.approx(21 / 11)
    ends = 21 / 11 * np.exp([-half, half])
    assert (found.low, found.high) == pytest.approx(tuple(ends), rel=1e-3)
    (few,) = left_out(rows[:2], ["run", "term"], ("a", "b"), "step").itertuples()
    assert few.ratio == 2
    assert np.isnan(few.low)
    rows["a"] = [-9, 1, 1, 2]
    (noise,) = left_out(rows, ["run", "term"], ("a", "b"), "step", log=True).itertuples()
    assert (noise.ratio < 0, np.isnan(noise.high)) == (True, True)
