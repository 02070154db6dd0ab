"""The spread of the sweep: means and quartiles by group of confidence, as numpy finds them."""

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd
from kdanalysis.analyzers.sweep.spread import NORMS, PARTS, SweepSpread
from kdanalysis.analyzers.sweep.sweep import TermSweep
from tests.analyzers.reference import logits, probabilities

N, C, KS, WEIGHTS = 300, 8, (1, 3, 7), (0.5, 2.0, 8.0)
STUDENT, TEACHER = logits(0, N, C), 2 * logits(1, N, C)


def table(student=STUDENT, teacher=TEACHER, splits=(130,)) -> pd.DataFrame:
    analyzer = SweepSpread(C, (1, 4), KS, WEIGHTS, edges=(0.5, 0.9))
    for rows in np.split(np.arange(len(teacher)), splits):
        analyzer.update(student[rows], teacher[rows])
    return analyzer.table()


def row(frame: pd.DataFrame, temperature: float, quantity: str, k: int, group: str) -> pd.Series:
    index = ["temperature", "quantity", "k", "confidence"]
    return frame.set_index(index).loc[(temperature, quantity, k, group)]


@pytest.mark.parametrize("group", ["below 0.5", "0.5 to 0.9", "0.9 and above", "all"])
@pytest.mark.parametrize("quantity", ["norm_high", "norm_total", "share_low_other"])
def test_means_and_quartiles_are_numpys(group, quantity):
    confidence = probabilities(TEACHER, 1).max(1)
    place = np.digitize(confidence, (0.5, 0.9))
    names = ["below 0.5", "0.5 to 0.9", "0.9 and above"]
    chosen = place == names.index(group) if group in names else place >= 0
    each = kd.sweep_samples(STUDENT, TEACHER, 4, KS, WEIGHTS)[quantity][:, 1].numpy()[chosen]
    found = row(table(), 4, quantity, 3, group)
    assert found.n == len(each) > 20
    assert found["mean"] == pytest.approx(each.mean(), rel=1e-12)
    for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        expected = np.quantile(each, q, method="inverted_cdf")
        tolerance = {"rel": 0.038} if quantity in NORMS else {"abs": 0.002}
        assert found[name] == pytest.approx(expected, **tolerance)


def test_all_samples_have_the_means_of_the_sweep():
    whole = TermSweep(C, (1, 4), KS, WEIGHTS)
    whole.update(STUDENT, TEACHER)
    frame = table()
    frame = frame[frame.confidence == "all"]
    for _, expected in whole.table().iterrows():
        for quantity in (*NORMS, *PARTS):
            found = row(frame, expected.temperature, quantity, int(expected.k), "all")
            assert found["mean"] == pytest.approx(expected[quantity], rel=1e-10, abs=1e-14)


def test_halves_merge_into_the_whole():
    pd.testing.assert_frame_equal(table(), table(splits=()), rtol=1e-12)
    left, right = (SweepSpread(C, (1, 4), KS, WEIGHTS, (0.5, 0.9)) for _ in range(2))
    left.update(STUDENT[:130], TEACHER[:130])
    right.update(STUDENT[130:], TEACHER[130:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), table(), rtol=1e-12)


def test_a_sample_without_a_gradient_has_a_norm_of_zero_and_no_direction():
    student = STUDENT.clone()
    student[:200] = TEACHER[:200]
    frame = table(student)
    assert row(frame, 1, "norm_kd", 3, "all").n == N
    assert row(frame, 1, "norm_kd", 3, "all").q25 == 0
    assert row(frame, 1, "cosine_total_kd", 3, "all").n == 100


def test_non_finite_rows_are_counted_and_left_out():
    teacher = TEACHER.clone()
    teacher[:5, 2] = torch.nan
    frame = table(teacher=teacher)
    assert (frame.non_finite == 5).all()
    assert row(frame, 4, "norm_kd", 1, "all").n == N - 5
    nothing = table(teacher=torch.full_like(TEACHER, torch.nan))
    assert (nothing.n == 0).all()
    assert nothing["mean"].isna().all()


@pytest.mark.parametrize("edges", [(), (0.9, 0.5), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_bad_edges_are_refused(edges):
    with pytest.raises(ValueError, match=r"confidence edges must ascend within \(0, 1\)"):
        SweepSpread(C, edges=edges)
