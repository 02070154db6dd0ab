"""Amplification over KD is weight over teacher mass, in the published ratios."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.amplification import Amplification
from kdanalysis.losses import DKD, GDKD, GDKD3, KD
from tests.analyzers.reference import logits, probabilities, targets, top_mass

TEACHER, TARGET = logits(1, 300), targets(2, 300)


def table(losses, teacher=TEACHER, target=TARGET, temperatures=(1, 4)) -> pd.DataFrame:
    metric = Amplification(losses, temperatures)
    metric.update(teacher[:17], target[:17])
    metric.update(teacher[17:], target[17:])
    return metric.table()


@pytest.mark.parametrize("temperature", [1, 4])
@pytest.mark.parametrize("term", ["low_top", "low_other", "nckd"])
def test_histogram_agrees_with_numpy(term, temperature):
    rows = table({"gdkd": GDKD(3, (1, 2, 8)), "dkd": DKD(beta=6)})
    rows = rows[(rows.term == term) & (rows.temperature == temperature)]
    top = top_mass(TEACHER, 3, temperature)
    target = probabilities(TEACHER, temperature)[np.arange(300), TARGET]
    factor = {"low_top": 2 / top, "low_other": 8 / (1 - top), "nckd": 6 / (1 - target)}[term]
    counts, edges = np.histogram(np.log10(factor), bins=800, range=(-4, 36))
    assert rows["count"].tolist() == counts[counts > 0].tolist()
    np.testing.assert_allclose(rows.low, edges[:-1][counts > 0], atol=1e-9)
    np.testing.assert_allclose(rows.high, edges[1:][counts > 0], atol=1e-9)
    assert rows.share.sum() == pytest.approx(1)
    assert (rows.n == 300).all()


@pytest.mark.parametrize(("confidence", "factor"), [(0.6, 20), (0.9, 80), (0.99, 800)])
def test_beta_8_amplifies_as_the_papers_argument_says(confidence, factor):
    teacher = torch.tensor([[confidence, (1 - confidence) / 2, (1 - confidence) / 2]]).log()
    rows = table({"dkd": DKD()}, teacher.expand(20, -1), torch.zeros(20, dtype=torch.long), (1,))
    assert len(rows) == 1
    assert 10 ** rows.low.item() <= factor * (1 + 1e-4)
    assert factor * (1 - 1e-4) <= 10 ** rows.high.item()


def test_median_is_the_sample_median_within_a_bin():
    metric = Amplification({"gdkd": GDKD(3)}, (1,))
    metric.update(TEACHER, TARGET)
    exact = np.quantile(8 / (1 - top_mass(TEACHER, 3, 1)), 0.5, method="inverted_cdf")
    assert metric.compute()["median"][1].item() == pytest.approx(exact, rel=10**0.05 - 1)


def test_masses_that_underflow_still_have_a_factor():
    teacher = torch.tensor([[0.0, -60.0, -60.0], [0.0, -900.0, -900.0]]).repeat(10, 1)
    rows = table({"dkd": DKD()}, teacher, torch.zeros(20, dtype=torch.long), (1,))
    exact = np.log10(8) + 60 / np.log(10) - np.log10(2)
    assert rows.low.iloc[0] <= exact <= rows.high.iloc[0]
    assert (rows.low.iloc[1], rows.high.iloc[1]) == (36, np.inf)


def test_terms_without_weight_or_name_have_no_factor():
    rows = table({"a": GDKD(3, (1, 0, 8)), "b": GDKD3(4)})
    assert set(zip(rows.loss, rows.term, strict=True)) == {
        ("a", "low_other"),
        ("b", "low_top"),
        ("b", "low_other"),
    }


def test_non_finite_rows_are_counted_and_left_out():
    teacher = TEACHER.clone()
    teacher[20, 3] = torch.nan
    rows = table({"gdkd": GDKD(3)}, teacher)
    assert (rows.non_finite == 1).all()
    assert (rows.n == 299).all()


def test_halves_merge_into_the_whole():
    losses = {"gdkd": GDKD(3), "dkd": DKD()}
    left, right = Amplification(losses, (1, 4)), Amplification(losses, (1, 4))
    left.update(TEACHER[:100], TARGET[:100])
    right.update(TEACHER[100:], TARGET[100:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), table(losses))


def test_a_loss_without_groups_is_refused():
    with pytest.raises(ValueError, match=r"KD\(.*\) has no partition"):
        Amplification({"kd": KD()})
