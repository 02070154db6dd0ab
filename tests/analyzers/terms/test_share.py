"""Shares of the terms agree with autograd's norms, and confidence deciles with numpy's."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.confidence import ShareByConfidence
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.core.partition import TopK
from kdanalysis.losses import DKD, GDKD, KDParts
from tests.analyzers.reference import autograd_gradients, logits, probabilities, targets, top_mass

STUDENT, TEACHER, TARGET = logits(0), logits(1), targets(2)
LOSSES = {"kd": KDParts(TopK(3), 2.0), "gdkd": GDKD(3, (1, 2, 8), 2.0), "dkd": DKD(1, 8, 2.0)}


def expected_shares(student, teacher, target) -> dict[tuple[str, str], np.ndarray]:
    """Share of every term, one entry a sample."""
    norms = {
        term: np.linalg.norm(rows, axis=1)
        for term, rows in autograd_gradients(student, teacher, target, 3, 2.0).items()
    }
    mass = top_mass(teacher, 3, 2.0)
    gdkd = ("high", "low_top", "low_other")
    weighted = {
        "kd": dict(zip(gdkd, (1, mass, 1 - mass), strict=True)),
        "gdkd": dict(zip(gdkd, (1, 2, 8), strict=True)),
        "dkd": {"tckd": 1, "nckd": 8},
    }
    result = {}
    for loss, weights in weighted.items():
        total = sum(w * norms[term] for term, w in weights.items())
        result |= {(loss, term): w * norms[term] / total for term, w in weights.items()}
    return result


def filled(metric, student=STUDENT, teacher=TEACHER, target=TARGET, split: int = 17):
    metric.update(student[:split], teacher[:split], target[:split])
    metric.update(student[split:], teacher[split:], target[split:])
    return metric


def test_shares_agree_with_autograd():
    rows = filled(TermShare(LOSSES)).table()
    expected = {key: s.mean() for key, s in expected_shares(STUDENT, TEACHER, TARGET).items()}
    found = dict(zip(zip(rows.loss, rows.term, strict=True), rows.share, strict=True))
    assert found == pytest.approx(expected)
    assert rows.groupby("loss").share.sum().tolist() == pytest.approx([1, 1, 1])
    assert (rows.n == 60).all()


def test_a_sample_without_gradient_has_no_share():
    teacher = TEACHER.clone()
    teacher[:5] = STUDENT[:5]
    rows = filled(TermShare(LOSSES), teacher=teacher).table()
    expected = expected_shares(STUDENT[5:], TEACHER[5:], TARGET[5:])
    assert rows.share.tolist() == pytest.approx([s.mean() for s in expected.values()])
    assert (rows.n == 55).all()
    assert (rows.no_gradient == 5).all()


def test_deciles_agree_with_numpy_where_confidences_are_apart():
    # log odds of max p at T = 1 spread evenly, far enough apart for the bins
    odds = torch.linspace(-1.5, 10, 60, dtype=torch.float64)
    teacher = logits(1).sort(-1, descending=True).values
    teacher[:, 0] = odds + teacher[:, 1:].logsumexp(-1)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    teacher = teacher[order]
    rows = filled(ShareByConfidence(LOSSES), teacher=teacher).table()
    confidence = probabilities(teacher, 1.0).max(1)
    tenths = np.array_split(np.argsort(confidence), 10)
    for (loss, term), share in expected_shares(STUDENT, teacher, TARGET).items():
        part = rows[(rows.loss == loss) & (rows.term == term)]
        np.testing.assert_allclose(part.share, [share[i].mean() for i in tenths], rtol=1e-9)
        np.testing.assert_allclose(part.confidence, [confidence[i].mean() for i in tenths])
        assert part.n.tolist() == [6] * 10
        assert part.decile.tolist() == list(range(1, 11))


def test_decile_shares_average_to_the_overall_share():
    by_decile = filled(ShareByConfidence(LOSSES, 4)).table()
    overall = filled(TermShare(LOSSES)).table()
    mass = (by_decile.share.fillna(0) * by_decile.n).groupby([by_decile.loss, by_decile.term])
    expected = overall.set_index(["loss", "term"]).share
    pd.testing.assert_series_equal(mass.sum() / 60, expected.sort_index(), check_names=False)


def test_equal_confidences_stay_in_one_decile():
    teacher = TEACHER[:1].expand(60, -1).clone()
    rows = filled(ShareByConfidence(LOSSES), teacher=teacher).table()
    assert sorted(rows[rows.term == "nckd"].n) == [0] * 9 + [60]


@pytest.mark.parametrize("analyzer", [TermShare, ShareByConfidence])
def test_non_finite_rows_are_counted_and_left_out(analyzer):
    student, teacher = STUDENT.clone(), TEACHER.clone()
    student[1, 0], teacher[30, 4] = torch.nan, -torch.inf
    kept = torch.tensor([i not in (1, 30) for i in range(60)])
    rows = filled(analyzer(LOSSES), student, teacher).table()
    clean = filled(analyzer(LOSSES), STUDENT[kept], TEACHER[kept], TARGET[kept]).table()
    assert (rows.non_finite == 2).all()
    pd.testing.assert_frame_equal(rows.drop(columns="non_finite"), clean.drop(columns="non_finite"))


@pytest.mark.parametrize("analyzer", [TermShare, ShareByConfidence])
def test_a_batch_without_finite_rows_gives_nan(analyzer):
    rows = filled(analyzer(LOSSES), student=STUDENT * torch.nan).table()
    assert rows.share.isna().all()
    assert (rows.non_finite == 60).all()


@pytest.mark.parametrize("analyzer", [TermShare, ShareByConfidence])
def test_halves_merge_into_the_whole(analyzer):
    left, right = analyzer(LOSSES), analyzer(LOSSES)
    left.update(STUDENT[:9], TEACHER[:9], TARGET[:9])
    right.update(STUDENT[9:], TEACHER[9:], TARGET[9:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), filled(analyzer(LOSSES)).table())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="need at least one loss, got none"):
        TermShare({})
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got -2"):
        ShareByConfidence(LOSSES, -2)
    with pytest.raises(ValueError, match="the batch holds no samples"):
        TermShare(LOSSES).update(STUDENT[:0], TEACHER[:0], TARGET[:0])
