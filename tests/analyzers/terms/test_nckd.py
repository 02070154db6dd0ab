"""NCKD by confidence agrees with a loop over ranked samples and with autograd."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from kdanalysis import DKD
from kdanalysis.analyzers.terms.nckd import NCKDByConfidence
from tests.analyzers.reference import autograd_gradients, logits, probabilities, targets

STUDENT, TARGET = logits(0), targets(2)


def spread() -> torch.Tensor:
    """A teacher whose log odds of the label are apart by more than a bin, in random order."""
    odds = torch.linspace(-6, 9, 60, dtype=torch.float64)
    odds = odds[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    teacher, label = logits(1), TARGET.unsqueeze(-1)
    rest = teacher.scatter(-1, label, -torch.inf).logsumexp(-1)
    return teacher.scatter(-1, label, (odds + rest).unsqueeze(-1))


TEACHER = spread()


def filled(metric, student=STUDENT, teacher=TEACHER, target=TARGET, split: int = 17):
    metric.update(student[:split], teacher[:split], target[:split])
    metric.update(student[split:], teacher[split:], target[split:])
    return metric


def expected(temperature: float) -> dict[str, np.ndarray]:
    """Every quantity of every sample, from probabilities and autograd."""
    p, q = probabilities(TEACHER, temperature), probabilities(STUDENT, temperature)
    values = []
    for one, other, y in zip(p, q, TARGET.tolist(), strict=True):
        one, other = (np.delete(row, y) / np.delete(row, y).sum() for row in (one, other))
        values.append(temperature**2 * (one * np.log(one / other)).sum())
    norms = autograd_gradients(STUDENT, TEACHER, TARGET, 3, temperature)["nckd"]
    norms = np.linalg.norm(norms, axis=1)
    factor = 1 - p[range(60), TARGET]
    confidence = softmax(TEACHER.numpy(), axis=1)[range(60), TARGET]
    return {
        "confidence": confidence,
        "value": np.array(values),
        "norm": norms,
        "kd_value": factor * values,
        "kd_norm": factor * norms,
    }


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("part", "parts"), [("tenth", 10), ("half", 2)])
def test_parts_agree_with_a_plain_ranking(part, parts, temperature):
    rows = filled(NCKDByConfidence(temperature)).table()
    rows = rows[rows.part == part]
    samples = expected(temperature)
    ranked = np.array_split(np.argsort(samples["confidence"]), parts)
    for name, of_sample in samples.items():
        np.testing.assert_allclose(rows[name], [of_sample[i].mean() for i in ranked], rtol=1e-9)
    assert rows.place.tolist() == list(range(1, parts + 1))
    assert rows.n.tolist() == [60 // parts] * parts
    assert (rows.temperature == temperature).all()


def test_a_part_begins_between_its_samples_and_those_before():
    rows = filled(NCKDByConfidence()).table()
    confidence = np.sort(expected(4.0)["confidence"])
    for part, parts in (("tenth", 10), ("half", 2)):
        lowest = rows[rows.part == part].lowest.to_numpy()
        starts = np.arange(1, parts) * (60 // parts)
        assert lowest[0] == 0
        odds = np.log(lowest[1:] / (1 - lowest[1:]))
        before = np.log(confidence[starts - 1] / (1 - confidence[starts - 1]))
        np.testing.assert_allclose(odds, before, atol=0.02)  # a bin's width


def test_the_values_are_those_of_the_loss():
    rows = filled(NCKDByConfidence(2)).table().query("part == 'half'")
    values = DKD(1.0, 1.0, 2.0)(STUDENT, TEACHER, TARGET)["nckd"]
    assert (rows.value * rows.n).sum() == pytest.approx(values.sum().item())


def test_equal_samples_stay_in_one_part():
    alike = [x[:1].expand(60, *x.shape[1:]).clone() for x in (STUDENT, TEACHER, TARGET)]
    rows = filled(NCKDByConfidence(), *alike).table()
    assert sorted(rows[rows.part == "tenth"].n) == [0] * 9 + [60]
    assert rows[rows.n == 0].value.isna().all()


def test_two_classes_have_no_relations():
    metric = NCKDByConfidence()
    metric.update(STUDENT[:, :2], TEACHER[:, :2], TARGET % 2)
    rows = metric.table().dropna()
    assert (rows[["value", "norm", "kd_norm"]] == 0).all(axis=None)
    assert rows[rows.part == "half"].n.sum() == 60


def test_non_finite_rows_are_counted_and_left_out():
    student, teacher = STUDENT.clone(), TEACHER.clone()
    student[1, 0], teacher[30, 4] = torch.nan, -torch.inf
    kept = torch.tensor([i not in (1, 30) for i in range(60)])
    rows = filled(NCKDByConfidence(), student, teacher).table()
    clean = filled(NCKDByConfidence(), STUDENT[kept], TEACHER[kept], TARGET[kept]).table()
    assert (rows.non_finite == 2).all()
    same = rows.columns != "non_finite"
    pd.testing.assert_frame_equal(rows.loc[:, same], clean.loc[:, same])


def test_without_finite_rows_there_are_no_values():
    rows = filled(NCKDByConfidence(), student=STUDENT * torch.nan).table()
    assert rows[["lowest", "value", "norm", "confidence"]].isna().all(axis=None)
    assert (rows.non_finite == 60).all()


def test_halves_merge_into_the_whole():
    left, right = NCKDByConfidence(), NCKDByConfidence()
    left.update(STUDENT[:9], TEACHER[:9], TARGET[:9])
    right.update(STUDENT[9:], TEACHER[9:], TARGET[9:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), filled(NCKDByConfidence()).table())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
        NCKDByConfidence(0)
    with pytest.raises(ValueError, match="target of sample 0 is 12, need an index from 0 to 11"):
        NCKDByConfidence().update(STUDENT, TEACHER, TARGET + 12)
