"""Class-mean discrepancy is pandas' group means, its correlations are numpy's corrcoef."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.evidence import Interval
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.discrepancy_reading import discrepancy_reading
from tests.analyzers.reference import logits, probabilities, targets

TEACHER = logits(1)
STUDENT = TEACHER + 0.5 * logits(0)
TARGET = targets(2)
STEP = torch.arange(60) // 20 * 10
MATRICES = (
    *("logits", "logits_se", "probability", "probability_se"),
    *("student_correlation", "teacher_correlation"),
)


def table(student=STUDENT, teacher=TEACHER, target=TARGET, first=0, split=13) -> pd.DataFrame:
    metric = ClassDiscrepancy(12, 2, first)
    for rows in (slice(None, split), slice(split, None)):
        label = None if target is None else target[rows]
        metric.update(student[rows], teacher[rows], label, STEP[rows])
    return metric.table()


def square(rows: pd.DataFrame, name: str) -> np.ndarray:
    return rows.pivot(index="given", columns="class", values=name).to_numpy()


def centred(side: torch.Tensor) -> np.ndarray:
    return side.numpy() - side.numpy().mean(1, keepdims=True)


DIFFERENCES = {
    "logits": centred(STUDENT) - centred(TEACHER),
    "probability": probabilities(STUDENT, 2) - probabilities(TEACHER, 2),
}


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_means_and_standard_errors_agree_with_pandas(kind):
    groups = pd.DataFrame(DIFFERENCES[kind]).groupby(TARGET.numpy())
    np.testing.assert_allclose(square(table(), kind), groups.mean(), atol=1e-13)
    np.testing.assert_allclose(square(table(), f"{kind}_se"), groups.sem(), atol=1e-12)
    assert table().groupby("given").n.first().tolist() == np.bincount(TARGET).tolist()


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_correlations_agree_with_numpy(offset):
    """A common offset of a sample's logits means nothing and must cost no digits."""
    drift = offset * torch.arange(60, dtype=torch.float64).unsqueeze(-1)
    rows = table(STUDENT + drift, TEACHER - drift)
    for side, logit in (("student", STUDENT), ("teacher", TEACHER)):
        found = square(rows, f"{side}_correlation")
        np.testing.assert_allclose(found, np.corrcoef(centred(logit).T), atol=1e-9)
        assert (np.diag(found) == 1).all()


def test_correlations_far_from_zero_keep_their_digits():
    far = 1000 * torch.arange(12, dtype=torch.float64)  # a mean of its own for every class
    found = square(table(STUDENT + far), "student_correlation")
    np.testing.assert_allclose(found, np.corrcoef(centred(STUDENT + far).T), atol=1e-8)


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_a_constant_class_has_no_correlation(constant):
    rest = STUDENT[:, 1:] - STUDENT[:, 1:].mean(1, keepdim=True)  # class 0 is the sample's mean
    student = torch.cat((torch.full((60, 1), 12 * constant), rest), 1)
    found = square(table(student), "student_correlation")
    assert np.isnan(found[0]).all()
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[1:, 1:]).all()


def test_a_student_without_opinion_has_no_correlation():
    student = torch.rand(60, 1, dtype=torch.float64).expand(60, 12)
    assert np.isnan(square(table(student), "student_correlation")).all()


def test_a_class_without_samples_has_no_mean():
    rows = table(target=torch.zeros(60, dtype=torch.long))
    empty = rows[rows.given > 0]
    assert empty[["logits", "probability", "logits_se", "probability_se"]].isna().all(axis=None)
    assert (empty.n == 0).all()
    assert rows.student_correlation.notna().all()
    assert rows[rows.given == 0].logits.notna().all()


def test_one_sample_of_a_class_has_no_standard_error():
    target = torch.zeros(60, dtype=torch.long)
    target[5] = 3
    rows = table(target=target).query("given == 3")
    np.testing.assert_allclose(rows.logits, DIFFERENCES["logits"][5], atol=1e-14)
    assert rows.logits_se.isna().all()


def test_without_targets_the_class_is_the_teachers():
    rows = table(target=None)
    expected = pd.DataFrame(DIFFERENCES["logits"]).groupby(TEACHER.argmax(-1).numpy()).mean()
    np.testing.assert_allclose(square(rows, "logits")[expected.index], expected, atol=1e-13)
    assert set(rows.given_by) == {"teacher"}
    assert set(table().given_by) == {"target"}


def test_some_targets_are_said_to_be_mixed():
    metric = ClassDiscrepancy(12)
    metric.update(STUDENT, TEACHER, TARGET)
    metric.update(STUDENT, TEACHER)
    assert set(metric.table().given_by) == {"mixed"}


def test_earlier_steps_are_passed_over():
    student = STUDENT.clone()
    student[3] = torch.nan  # of step 0
    late = STEP >= 10
    metric = ClassDiscrepancy(12, 2)
    metric.update(STUDENT[late], TEACHER[late], TARGET[late])
    expected = metric.table().assign(first_step=10)
    pd.testing.assert_frame_equal(table(student, first=10), expected)


def test_steps_are_needed_where_a_first_one_is_set():
    with pytest.raises(ValueError, match="before step 5 are to be passed over, need the step"):
        ClassDiscrepancy(12, first_step=5).update(STUDENT, TEACHER, TARGET)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"temperature must lie between 0\.001 and 10000"):
        ClassDiscrepancy(12, 0)
    with pytest.raises(ValueError, match="the analyzer expects 3"):
        ClassDiscrepancy(3).update(STUDENT, TEACHER, TARGET)


def test_two_classes_of_three_samples_that_do_not_differ_are_rarely_seen_to():
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(150):
        metric = ClassDiscrepancy(2)
        teacher, change = torch.randn(2, 6, 2, generator=generator)
        metric.update(teacher + change, teacher, torch.arange(6) % 2)
        found.append(discrepancy_reading(metric.table()).sentence)
    departs = sum("by class is seen" in one for one in found)
    itself = sum("its teacher has is seen" in one for one in found)
    assert max(departs, itself) <= 9  # with normal quantiles 19 and 18


def test_the_widest_gap_of_ten_samples_takes_students_interval():
    metric, generator = ClassDiscrepancy(10), torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 100, 10, generator=generator)
    metric.update(student, teacher, torch.arange(100) % 10)
    table = metric.table()
    widest = table.loc[table.logits.abs().idxmax()]
    said = discrepancy_reading(table).sentence
    assert Interval(widest.logits, wide(10, 100) * widest.logits_se).text("+z.2g") in said
