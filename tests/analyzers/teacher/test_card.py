"""The teacher card agrees with scipy, scikit-learn and torchmetrics, and counts what it drops."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from kdanalysis.analyzers.teacher.card import TeacherDistribution
from tests.analyzers.reference import auto_k, logits, probabilities, targets

TEMPERATURES = (1.0, 4.0)


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    teacher = logits(0, 400)
    half = torch.arange(400) % 2 == 0  # right half the time: under- and overconfident bins
    return teacher, torch.where(half, teacher.argmax(-1), targets(1, 400))


def card(teacher, target=None, temperatures=TEMPERATURES, split=None) -> pd.DataFrame:
    metric = TeacherDistribution(teacher.shape[-1], temperatures)
    for rows in (slice(None, split), slice(split, None)) if split else (slice(None),):
        metric.update(teacher[rows], None if target is None else target[rows])
    return metric.table()


def value(table: pd.DataFrame, quantity: str, temperature: float | None = None) -> float:
    rows = table[table.quantity == quantity]
    if temperature is not None:
        rows = rows[rows.temperature == temperature]
    assert len(rows) == 1
    return rows.value.item()


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_label_free_rows_agree_with_scipy(batch, temperature):
    teacher, _ = batch
    p = probabilities(teacher, temperature)
    table = card(teacher, split=150)
    expected = {
        "confidence_mean": p.max(1).mean(),
        "entropy_mean": entropy(p, axis=1).mean(),
        "rest_entropy_mean": np.mean([entropy(np.sort(row)[:-1]) for row in p]),
        "p_other_mean": np.mean([np.sort(row)[:-5].sum() for row in p]),
        "auto_k": np.mean([auto_k(row) for row in p]),
        "modes_mean": np.mean([np.exp(entropy(row)) for row in p]),
        "several_peaks": np.mean([(row >= 0.1 * row.max()).sum() > 1 for row in p]),
    }
    assert {q: value(table, q, temperature) for q in expected} == pytest.approx(expected)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_label_rows_agree_with_scikit_learn_and_torchmetrics(batch, temperature):
    teacher, target = batch
    p = probabilities(teacher, temperature)
    table = card(teacher, target, split=150)
    ece = multiclass_calibration_error(torch.from_numpy(p), target, 12, n_bins=15, norm="l1")
    wrong = (p.argmax(1) != target.numpy()) & (p.max(1) > 0.9)
    expected = {
        "nll": log_loss(target, p, labels=range(12)),
        "ece_15": ece.item(),
        "suppression": np.mean([1 - row[t] for row, t in zip(p, target, strict=True)]),
        "confident_wrong": wrong.mean(),
    }
    assert {q: value(table, q, temperature) for q in expected} == pytest.approx(expected, rel=1e-6)
    assert value(table, "accuracy") == pytest.approx(accuracy_score(target, p.argmax(1)))
    assert value(table, "n") == 400
    assert temperature != 1 or expected["confident_wrong"] > 0  # the control: there are some


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_knee_and_95_percent_point_agree_with_a_plain_search(batch, temperature):
    mean_mass = np.sort(probabilities(batch[0], temperature))[:, ::-1].mean(0)
    table = card(batch[0])
    above_uniform = [sum(mean_mass[:k]) - k / 12 for k in range(1, 13)]
    assert value(table, "knee", temperature) == 1 + int(np.argmax(above_uniform))
    assert value(table, "knee", temperature) == (mean_mass > 1 / 12).sum()
    enough = [k for k in range(1, 13) if sum(mean_mass[:k]) >= 0.95]
    assert value(table, "k_mass_95", temperature) == enough[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_underflow_rows_tell_when_softmax_gives_zero_in_that_type(dtype):
    edge = {torch.float16: 17.33, torch.bfloat16: 92.88, torch.float32: 103.97}[dtype]
    name = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
    gaps = torch.tensor([edge - 5, edge - 0.1, edge + 0.1, edge + 5], dtype=torch.float64)
    teacher = torch.stack([gaps, torch.zeros(4)], -1)
    lost = teacher.softmax(-1).to(dtype)[:, 1] == 0  # float64 softmax, rounded by torch
    assert lost.tolist() == [False, False, True, True]
    assert value(card(teacher), f"underflow_{name}", 1.0) == 0.5
    assert value(card(teacher), f"underflow_{name}", 4.0) == 0.0
    assert value(card(8 * teacher), f"underflow_{name}", 4.0) == 1.0


def test_rows_that_need_labels_are_left_out_without_target(batch):
    label_rows = {"accuracy", "nll", "ece_15", "suppression", "confident_wrong"}
    free = set(card(batch[0]).quantity)
    assert not label_rows & free
    assert set(card(*batch).quantity) == free | label_rows


def test_every_quantity_that_depends_on_temperature_appears_at_each(batch):
    table = card(*batch, temperatures=(1, 2, 4, 8))
    counts = table.groupby("quantity").temperature.agg(["size", "count"])
    fixed = counts[counts["count"] == 0]
    assert set(fixed.index) == {"n", "non_finite", "accuracy"}
    assert (fixed["size"] == 1).all()
    assert (counts.drop(fixed.index) == 4).all(axis=None)


def test_no_class_lies_outside_the_top_five_of_five():
    assert value(card(logits(0, 9, 5)), "p_other_mean", 1.0) == 0.0


def test_a_teacher_without_finite_samples_has_no_values():
    table = card(torch.full((4, 3), torch.nan), torch.zeros(4, dtype=torch.long))
    counts = table.quantity.isin(["n", "non_finite"])
    assert table[counts].value.tolist() == [0, 4]
    assert "accuracy" in set(table.quantity)
    assert table[~counts].value.isna().all()


def test_a_uniform_teacher_has_its_knee_at_one_and_needs_most_classes_for_95_percent():
    table = card(torch.zeros(5, 100))
    assert value(table, "knee", 1.0) == 1
    assert value(table, "k_mass_95", 1.0) in (95, 96)  # 95 * 0.01 is 0.95 up to rounding
    assert value(table, "entropy_mean", 4.0) == pytest.approx(np.log(100))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_logits_are_read_as_their_exact_values(batch, dtype):
    teacher = batch[0].to(dtype)
    pd.testing.assert_frame_equal(card(teacher, batch[1]), card(teacher.double(), batch[1]))


def test_huge_gaps_stay_finite():
    teacher = torch.tensor([[3e4, 0.0, -3e4], [1e300, 0.0, -1e300]], dtype=torch.float64)
    table = card(teacher, torch.tensor([2, 0]))
    assert np.isfinite(table.value).all()
    assert value(table, "nll", 1.0) == pytest.approx(6e4 / 2)


def test_a_dominant_class_does_not_hide_the_entropy_of_the_rest():
    table = card(torch.tensor([[1e5, 0.0, 0.0, 0.0]]))
    assert value(table, "entropy_mean", 1.0) == 0.0
    assert value(table, "rest_entropy_mean", 1.0) == pytest.approx(np.log(3))


def test_an_empty_analyzer_merges_without_complaint(batch):
    empty, full = TeacherDistribution(12), TeacherDistribution(12)
    full.update(*batch)
    empty.merge_state(full)
    pd.testing.assert_frame_equal(empty.table(), full.table())


def test_differently_configured_cards_do_not_merge(batch):
    left, right = TeacherDistribution(12, (1, 2)), TeacherDistribution(12, (1, 4))
    right.update(*batch)
    with pytest.raises(ValueError, match="class and arguments must be the same on both sides"):
        left.merge_state(right)


def test_results_do_not_change_when_more_data_arrives(batch):
    metric = TeacherDistribution(12)
    metric.update(*batch)
    first = metric.compute()
    kept = {name: tensor.clone() for name, tensor in first.items()}
    metric.update(*batch)
    metric.compute()["n"] += 1
    for name, tensor in kept.items():
        torch.testing.assert_close(first[name], tensor, equal_nan=True)
    assert metric.compute()["n"] == 800


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "need at least 2 classes, got 1"),
        ((3, ()), "need at least one temperature, got none"),
        ((3, (1, 0.0)), "temperature must lie between 0.001 and 10000, got 0"),
        ((3, (-1,)), "temperature must lie between 0.001 and 10000, got -1"),
        ((3, (1, 1.0)), "temperatures must differ"),
    ],
)
def test_a_card_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TeacherDistribution(*arguments)


@pytest.mark.parametrize(
    ("teacher", "target", "message"),
    [
        (torch.zeros(2, 4), None, "the logits have 4 classes, the analyzer expects 3"),
        (torch.zeros(2, 1), None, "need at least 2 classes, got 1"),
        (torch.zeros(0, 3), None, "the batch holds no samples"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "target of sample 1 is 3, need an index from 0"),
    ],
)
def test_a_batch_that_cannot_be_read_is_refused(teacher, target, message):
    metric = TeacherDistribution(3)
    with pytest.raises(ValueError, match=message):
        metric.update(teacher, target)


def test_softmax_reference_is_the_plain_formula():
    row = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(softmax(row / 2), np.exp(row / 2) / np.exp(row / 2).sum())
