"""Top-k mass agrees with sorted cumulative sums, and its quartiles with numpy's."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.teacher.mass import BINS, TopKMass
from tests.analyzers.reference import logits, probabilities


def table(teacher: torch.Tensor, temperatures=(1, 4), split: int = 20) -> pd.DataFrame:
    metric = TopKMass(teacher.shape[-1], temperatures)
    metric.update(teacher[:split])
    metric.update(teacher[split:])
    return metric.table()


@pytest.mark.parametrize("temperature", [1, 4])
def test_mean_and_quartiles_agree_with_numpy(temperature):
    teacher = logits(0, 101)
    rows = table(teacher)
    rows = rows[rows.temperature == temperature]
    mass = np.sort(probabilities(teacher, temperature))[:, ::-1].cumsum(1)
    assert rows.k.tolist() == list(range(1, 13))
    np.testing.assert_allclose(rows["mean"], mass.mean(0), rtol=1e-12)
    for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        exact = np.quantile(mass, q, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(rows[name], exact, atol=BINS.width + 1e-12, rtol=0)
    assert (rows.n == 101).all()


def test_all_classes_hold_all_mass_even_where_rounding_exceeds_one():
    rows = table(logits(3, 50, 100, scale=0.01))
    last = rows[rows.k == 100]
    np.testing.assert_allclose(last["mean"], 1, rtol=1e-12)
    assert last["median"].between(1 - BINS.width, 1).all()


def test_non_finite_rows_are_counted_and_left_out():
    teacher = logits(0, 30)
    spoiled = torch.cat([teacher, torch.full((2, 12), torch.nan, dtype=torch.float64)])
    rows = table(spoiled)
    assert (rows.non_finite == 2).all()
    pd.testing.assert_frame_equal(
        rows.drop(columns="non_finite"), table(teacher).drop(columns="non_finite")
    )


def test_halves_merge_into_the_whole():
    teacher = logits(0, 30)
    left, right = TopKMass(12, (1, 4)), TopKMass(12, (1, 4))
    left.update(teacher[:11])
    right.update(teacher[11:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), table(teacher))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="need at least 2 classes"):
        TopKMass(1)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got nan"):
        TopKMass(3, (float("nan"),))
    with pytest.raises(ValueError, match="the logits have 4 classes, the analyzer expects 3"):
        TopKMass(3).update(torch.zeros(2, 4))
