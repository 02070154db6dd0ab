"""The histogram of 1 - p agrees with numpy's, far into a confident teacher's tail."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp

from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.suppression import BINS, Suppression, rest_odds
from tests.analyzers.reference import logits, probabilities, targets

TEACHER, TARGET = logits(0, 200), targets(1, 200)


def table(teacher=TEACHER, target=TARGET, temperatures=(1, 4), split: int = 70) -> pd.DataFrame:
    metric = Suppression(12, temperatures)
    for rows in (slice(None, split), slice(split, None)):
        metric.update(teacher[rows], None if target is None else target[rows])
    return metric.table()


def exact_odds(teacher: torch.Tensor, index: np.ndarray, temperature: float) -> np.ndarray:
    """log((1 - p) / p), one sample at a time, from sums over the other classes."""
    rows = teacher.numpy() / temperature
    return np.array(
        [logsumexp(np.delete(row, i)) - row[i] for row, i in zip(rows, index, strict=True)]
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("of", ["label", "top"])
def test_counts_and_mean_agree_with_numpy(of, temperature):
    rows = table()
    rows = rows[(rows.of == of) & (rows.temperature == temperature)]
    index = TARGET.numpy() if of == "label" else TEACHER.argmax(1).numpy()
    expected, edges = np.histogram(
        exact_odds(TEACHER, index, temperature), bins=1000, range=(-50, 50)
    )
    assert rows["count"].tolist() == expected[expected > 0].tolist()
    np.testing.assert_allclose(rows.low, edges[:-1][expected > 0], atol=1e-9)
    np.testing.assert_allclose(rows.high - rows.low, BINS.width)
    one = 1 - probabilities(TEACHER, temperature)[range(200), index]
    assert rows["mean"].unique() == pytest.approx(one.mean())
    assert rows.share.sum() == pytest.approx(1)
    assert (rows.n == 200).all()


def test_the_mean_is_the_cards_suppression():
    card = TeacherDistribution(12, (1, 4))
    card.update(TEACHER, TARGET)
    means = table().query("of == 'label'").groupby("temperature")["mean"].first()
    assert means.tolist() == pytest.approx(card.compute()["suppression"].tolist())


def test_without_labels_only_the_top_class_is_there():
    rows = table(target=None)
    assert rows.of.unique().tolist() == ["top"]
    pd.testing.assert_frame_equal(rows, table().query("of == 'top'").reset_index(drop=True))


def test_odds_keep_their_digits_where_one_minus_p_rounds_to_zero():
    sure = torch.tensor([[90.0, 0.0, 0.0]], dtype=torch.float64)
    odds = rest_odds(sure, torch.tensor([0]))
    assert odds.item() == pytest.approx(np.log(2) - 90)
    assert 1 - sure.softmax(-1)[0, 0] == 0  # the control: the plain way has lost it


def test_values_beyond_the_histogram_are_in_its_open_bins():
    far = torch.zeros(3, 12)
    far[:, 0] = torch.tensor([100.0, -100.0, 0.0])
    rows = table(far, torch.zeros(3, dtype=torch.long), (1,), split=1).query("of == 'label'")
    assert rows["count"].tolist() == [1, 1, 1]
    assert rows.low.iloc[0] == -np.inf
    assert rows.high.iloc[-1] == np.inf


def test_non_finite_rows_are_counted_and_left_out():
    spoiled = torch.cat([TEACHER, torch.full((2, 12), torch.inf, dtype=torch.float64)])
    rows = table(spoiled, torch.cat([TARGET, TARGET[:2]]))
    assert (rows.non_finite == 2).all()
    same = ~rows.columns.isin(["non_finite"])
    pd.testing.assert_frame_equal(rows.loc[:, same], table().loc[:, same])


def test_halves_merge_into_the_whole():
    left, right = Suppression(12), Suppression(12)
    left.update(TEACHER[:30], TARGET[:30])
    right.update(TEACHER[30:], TARGET[30:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), table())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="need at least 2 classes"):
        Suppression(1)
    with pytest.raises(ValueError, match="temperatures must differ"):
        Suppression(3, (1, 1))
    with pytest.raises(ValueError, match="target of sample 1 is -1, need an index from 0 to 2"):
        Suppression(3).update(torch.zeros(2, 3), torch.tensor([0, -1]))
