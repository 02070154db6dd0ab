"""Students held against each other sample by sample: the errors of numpy, or none at all."""

import numpy as np
import pytest

from kdanalysis.studies.opening import open_source
from kdanalysis.studies.paired import paired_errors

RNG = np.random.default_rng(0)
N, C = 301, 5
TEACHER, TARGET = RNG.normal(size=(N, C)), RNG.integers(C, size=N)
NOISE = {"a": 1, "b": 2, "c": 3}
STUDENTS = {name: TEACHER + noise * RNG.normal(size=(N, C)) for name, noise in NOISE.items()}


def sources(**changed):
    arrays = {"teacher_logits": TEACHER, "target": TARGET, "sample_id": np.arange(N)}
    return {
        name: open_source(arrays | {"student_logits": logits} | changed.get(name, {}))
        for name, logits in STUDENTS.items()
    }


def by_hand(right, one, other):
    """One sample more for either student; widened by how far that moves the difference."""
    apart = right[one] - right[other]
    more = np.r_[apart, 1, -1]
    moved = abs(apart.mean() - more.mean()) / 1.96
    return (more.std() / np.sqrt(len(more)) + moved) * (one != other)


def test_errors_are_those_of_differences_of_single_samples():
    found = paired_errors(sources())
    said = {name: logits.argmax(1) for name, logits in STUDENTS.items()}
    for quantity, wanted in (("agreement", TEACHER.argmax(1)), ("student_accuracy", TARGET)):
        right = {name: (one == wanted).astype(float) for name, one in said.items()}
        for one in "abc":
            for other in "abc":
                expected = by_hand(right, one, other)
                assert found[quantity].loc[one, other] == pytest.approx(expected, abs=1e-12)


def test_rows_that_one_source_cannot_say_are_left_out_of_all():
    logits, target = STUDENTS["b"].copy(), TARGET.copy()
    logits[:7], target[20:30] = np.nan, -1
    changed = {name: {"target": target} for name in "abc"}
    changed["b"] |= {"student_logits": logits}
    found = paired_errors(sources(**changed))["student_accuracy"]
    kept = np.r_[7:20, 30:N]
    right = {n: (x.argmax(1) == TARGET)[kept].astype(float) for n, x in STUDENTS.items()}
    assert found.loc["a", "c"] == pytest.approx(by_hand(right, "a", "c"))


@pytest.mark.parametrize("labelled", [0, N // 2])
def test_agreement_is_of_rows_without_a_label_too(labelled):
    target = np.where(np.arange(N) < labelled, TARGET, -1)
    found = paired_errors(sources(**{name: {"target": target} for name in "abc"}))
    right = {n: (x.argmax(1) == TEACHER.argmax(1)).astype(float) for n, x in STUDENTS.items()}
    assert found["agreement"].loc["a", "c"] == pytest.approx(by_hand(right, "a", "c"))
    assert np.isnan(found["student_accuracy"].loc["a", "c"]) == (labelled == 0)


def test_two_rows_of_which_one_student_alone_is_right_do_not_make_it_better():
    teacher = {"teacher_logits": np.eye(2), "target": np.arange(2)}
    students = {"right": np.eye(2), "wrong": 1 - np.eye(2)}
    both = {name: open_source(teacher | {"student_logits": x}) for name, x in students.items()}
    found = paired_errors(both)["student_accuracy"]
    assert 1 < 1.96 * found.loc["right", "wrong"] < 2
    assert found.loc["right", "right"] == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"target": (TARGET + 1) % C},
        {"sample_id": np.arange(N)[::-1]},
        {"teacher_logits": TEACHER[1:], "student_logits": TEACHER[1:], "target": TARGET[1:]}
        | {"sample_id": np.arange(N - 1)},
        {"step": np.zeros(N, int)},
    ],
    ids=["labels", "ids", "rows", "steps"],
)
def test_other_samples_have_none(changed):
    assert paired_errors(sources(c=changed)) is None


def test_without_labels_there_are_none():
    arrays = {"teacher_logits": TEACHER, "student_logits": STUDENTS["a"]}
    assert paired_errors({name: open_source(arrays) for name in "ab"}) is None
