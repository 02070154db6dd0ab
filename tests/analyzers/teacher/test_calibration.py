"""Calibration by temperature agrees with scikit-learn and with a loop over samples."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from kdanalysis.analyzers.teacher.calibration import (
    LADDER,
    Calibration,
    StudentCalibration,
    power_sums,
)
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from tests.analyzers.reference import logits, probabilities, targets

TEACHER = logits(0, 400)
HALF_RIGHT = torch.where(torch.arange(400) % 2 == 0, TEACHER.argmax(-1), targets(1, 400))


def filled(metric, sides=TEACHER, target=HALF_RIGHT, split: int = 150):
    metric.update(sides[:split], target[:split])
    metric.update(sides[split:], target[split:])
    return metric


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return filled(Calibration(12)).table()


def at(table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    rows = table[table.temperature == temperature]
    assert len(rows) == 15
    return rows


@pytest.mark.parametrize("temperature", LADDER)
def test_scores_agree_with_scipy_and_scikit_learn_at_every_temperature(table, temperature):
    p, rows = probabilities(TEACHER, temperature), at(table, temperature)
    log_p = log_softmax(TEACHER.numpy() / temperature, axis=-1)
    assert rows.nll.unique() == pytest.approx(-log_p[range(400), HALF_RIGHT].mean())
    brier = brier_score_loss(HALF_RIGHT, p, labels=range(12), scale_by_half=False)
    assert rows.brier.unique() == pytest.approx(brier)
    accuracy, confidence = calibration_curve(p.argmax(1) == HALF_RIGHT.numpy(), p.max(1), n_bins=15)
    seen = rows[rows["count"] > 0]
    np.testing.assert_allclose(seen.confidence, confidence)
    np.testing.assert_allclose(seen.accuracy, accuracy)
    assert rows[rows["count"] == 0][["confidence", "accuracy"]].isna().all(axis=None)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_bins_and_error_agree_with_a_loop_over_samples(table, temperature):
    p = probabilities(TEACHER, temperature)
    bins = [[] for _ in range(15)]
    for row, y in zip(p, HALF_RIGHT.tolist(), strict=True):
        place = next(b for b in range(15) if b / 15 < row.max() <= (b + 1) / 15)
        bins[place].append((row.max(), float(row.argmax() == y)))
    rows = at(table, temperature)
    assert rows["count"].tolist() == [len(found) for found in bins]
    gaps = [len(found) / 400 * abs(np.subtract(*np.mean(found, 0))) for found in bins if found]
    assert rows.ece.unique() == pytest.approx(sum(gaps))
    np.testing.assert_allclose(rows.low, np.arange(15) / 15)
    np.testing.assert_allclose(rows.high, np.arange(1, 16) / 15)


def test_the_error_is_that_of_the_teachers_card(table):
    card = TeacherDistribution(12, (1, 4))
    card.update(TEACHER, HALF_RIGHT)
    values = card.compute()
    for place, temperature in enumerate((1.0, 4.0)):
        rows = at(table, temperature)
        assert rows.ece.iloc[0] == pytest.approx(values["ece_15"][place].item())
        assert rows.nll.iloc[0] == pytest.approx(values["nll"][place].item())


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    fifth = torch.zeros(1, 5)  # confidence 0.2, the upper edge of the third bin
    metric = Calibration(5, temperatures=(1,))
    metric.update(fifth, torch.tensor([0]))
    assert at(metric.table(), 1.0)["count"].tolist() == [0, 0, 1] + [0] * 12


def test_power_sums_are_sums_of_exponentials_for_any_ladder():
    below = -10 * torch.rand(30, 7, dtype=torch.float64, generator=torch.manual_seed(0))
    ladder = (0.3, 1.0, 1.1, 3.0, 4.0, 8.8, 64.0)
    sums, squares = power_sums(below, ladder)
    for row, temperature in enumerate(ladder):
        torch.testing.assert_close(sums[row], (below / temperature).exp().sum(-1))
        torch.testing.assert_close(squares[row], (2 * below / temperature).exp().sum(-1))


def test_the_ladder_has_25_even_steps_in_4_families():
    assert len(LADDER) == 25
    np.testing.assert_allclose(LADDER, np.geomspace(0.25, 16, 25))
    assert len({np.frexp(t)[0] for t in LADDER}) == 4


def test_the_distilling_temperature_joins_the_ladder_and_is_told():
    table = filled(Calibration(12, distilled=3)).table()
    assert len(table) == 26 * 15
    assert (table.distilled == 3.0).all()
    assert at(table, 3.0).nll.iloc[0] == pytest.approx(
        log_loss(HALF_RIGHT, probabilities(TEACHER, 3.0), labels=range(12))
    )


def test_the_students_side_is_calibrated_alike(table):
    metric = StudentCalibration(12)
    metric.update(student_logits=TEACHER, target=HALF_RIGHT)
    pd.testing.assert_frame_equal(metric.table(), table)


def test_non_finite_rows_are_counted_and_left_out(table):
    spoiled = torch.cat([TEACHER, torch.full((2, 12), torch.nan, dtype=torch.float64)])
    rows = filled(Calibration(12), spoiled, torch.cat([HALF_RIGHT, torch.zeros(2).long()])).table()
    assert (rows.non_finite == 2).all()
    pd.testing.assert_frame_equal(rows.drop(columns="non_finite"), table.drop(columns="non_finite"))


def test_without_finite_rows_there_are_no_values():
    rows = filled(Calibration(12), TEACHER * torch.nan).table()
    assert rows[["ece", "nll", "brier", "accuracy", "confidence"]].isna().all(axis=None)
    assert (rows.n == 0).all()
    assert (rows.non_finite == 400).all()


def test_halves_merge_into_the_whole(table):
    left, right = Calibration(12), Calibration(12)
    left.update(TEACHER[:130], HALF_RIGHT[:130])
    right.update(TEACHER[130:], HALF_RIGHT[130:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), table)
    with pytest.raises(ValueError, match="class and arguments must be the same"):
        left.merge_state(Calibration(12, distilled=3))


def test_huge_gaps_are_read_exactly():
    metric = Calibration(3, temperatures=(1, 4))
    metric.update(torch.tensor([[3e4, 0.0, -3e4]]), torch.tensor([2]))
    rows = metric.table().drop_duplicates("temperature")
    assert rows.nll.tolist() == [6e4, 1.5e4]
    assert rows.brier.tolist() == [2.0, 2.0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="need at least 2 classes"):
        Calibration(1)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got -4"):
        Calibration(3, distilled=-4)
    with pytest.raises(ValueError, match="target of sample 0 is 3, need an index from 0 to 2"):
        Calibration(3).update(torch.zeros(1, 3), torch.tensor([3]))
