"""Loudness: the closed form against the sweep with a student of zeros, and weights by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdanalysis.analyzers.sweep.sweep import TermSweep
from kdanalysis.analyzers.teacher.candidates import loudness, rule_weights, weigh
from tests.analyzers.reference import logits, probabilities


@pytest.mark.parametrize("k", [1, 2, 5, 11])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_norms_agree_with_the_sweep_on_a_student_of_zeros(k, temperature):
    row = logits(3, 1)[0]
    teacher = torch.stack([row[torch.randperm(12)] for _ in range(9)])  # one profile, other places
    sweep = TermSweep(12, (temperature,), [k])
    sweep.update(torch.zeros_like(teacher), teacher)
    expected = sweep.table().iloc[0]
    ranks = np.sort(probabilities(teacher, temperature))[:, ::-1].mean(0)
    for term, norm in loudness(ranks, k, temperature).items():
        assert norm == pytest.approx(expected[f"norm_{term}"], abs=1e-7)


def weights(ranks: np.ndarray, k: int) -> dict[str, int]:
    (top, other), _ = rule_weights(ranks, k, 2.0)
    return {"w_low_top": top, "w_low_other": other}


def test_the_reason_holds_norms_and_ratios():
    _, why = rule_weights(np.array([0.4, 0.3, 0.2, 0.1]), 2, 2.0)
    assert "high 0.4, low_top 0.202, low_other 0.471" in why
    assert why.endswith("(low_top: ratio 1.98; low_other: ratio 0.849)")


def test_weights_by_hand():
    # P = 0.7: high 2 * 0.2 = 0.4; low_top 2 * |(4/7, 3/7) - 1/2| = 0.202; low_other
    # 2 * |(2/3, 1/3) - 1/2| = 0.471. So 0.4 / 0.202 = 1.98 and 0.4 / 0.471 = 0.85.
    assert weights(np.array([0.4, 0.3, 0.2, 0.1]), 2) == {"w_low_top": 2, "w_low_other": 1}
    # P = 0.9, k/c = 0.2: high 2 * 0.7 * sqrt(1/4 + 1/16) = 0.783; low_top
    # 2 * |(0.967, 3 times 0.011) - 1/4| = 1.656; low_other 2 * |(0.4, 15 times 0.04) - 1/16|
    # = 0.697. So 0.783 / 1.656 = 0.47, below the least weight, and 1.656 / 0.697 = 2.38.
    ranks = np.array([0.87, 0.01, 0.01, 0.01, 0.04, *[0.004] * 15])
    assert weights(ranks, 4) == {"w_low_top": 1, "w_low_other": 2}


@given(st.integers(0, 99), st.integers(1, 10), st.floats(0, 0.9))
def test_more_mass_on_the_first_class_never_lowers_the_weight_of_the_others(seed, k, moved):
    ranks = np.sort(probabilities(logits(seed, 1), 2.0)[0])[::-1]
    surer = (1 - moved) * ranks
    surer[0] += moved
    assert weights(ranks, k)["w_low_other"] <= weights(surer, k)["w_low_other"]


def test_weights_stay_within_those_of_the_papers():
    assert weigh(1.0, 0.01, 8)[0] == 8
    assert weigh(0.01, 1.0, 8)[0] == 1
    assert weigh(2.5, 1.0, 8) == (3, "ratio 2.5")
    assert weigh(1.0, float("nan"), 8)[0] == 8
    assert weigh(1.0, 1e-9, 8)[0] == 1


def test_a_group_without_mass_has_no_norm():
    norms = loudness(np.array([1.0, 0.0, 0.0]), 1, 1.0)
    assert np.isnan(norms["low_other"])
    assert norms["low_top"] == 0
    assert norms["high"] == pytest.approx(np.sqrt(1.5) * 2 / 3)
