"""Rows of two files belong together by their ids, and the answer says how they were brought so."""

import numpy as np
import pytest
import torch

from kdanalysis.store.sources import load_logits

RNG = np.random.default_rng(0)
N, C = 500, 6
LOGITS = RNG.normal(size=(2, N, C)).astype(np.float32)
IDS = RNG.permutation(10 * N)[:N]
TARGET = RNG.integers(0, C, N)


def save(path, **arrays):
    """Write arrays as the kind of file that the name says, column by column or by name."""
    if path.suffix == ".pt":
        torch.save({name: torch.from_numpy(values) for name, values in arrays.items()}, path)
    else:
        np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_students_and_labels_in_another_order_are_joined_by_sample_id(tmp_path, suffix):
    shuffled, other = RNG.permutation(N), RNG.permutation(N)
    teacher = save(tmp_path / "t.npz", logits=LOGITS[0], sample_id=IDS)
    student = {"student_logits": LOGITS[1][shuffled], "sample_id": IDS[shuffled]}
    student = save(tmp_path / f"s{suffix}", **student)
    target = save(tmp_path / f"y{suffix}", target=TARGET[other], sample_ids=IDS[other])
    logits = load_logits(teacher, student=student, target=target)
    found = list(logits.batches(77))
    for name, values in (("student_logits", LOGITS[1]), ("target", TARGET), ("sample_id", IDS)):
        np.testing.assert_array_equal(np.concatenate([b[name] for b in found]), values)
    assert logits.order == (
        f"rows of s{suffix} joined by sample_id; rows of y{suffix} joined by sample_id"
    )
    (some,) = logits.batches(10, ["student_logits"], range(3, 9))
    np.testing.assert_array_equal(some["student_logits"], LOGITS[1][3:9])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda ids: np.where(ids == IDS[3], -5, ids), r"s\.npz lacks 1 of the 500 samples"),
        (lambda ids: np.where(np.arange(N) < 7, -1 - np.arange(N), ids), "lacks 7 of the 500 samp"),
        (lambda ids: np.where(np.arange(N) == 0, ids[1], ids), "1 sample_id more than once"),
        (lambda ids: ids.astype(np.float64), "sample_id of .* is float64 .*need a row of integers"),
    ],
)
def test_ids_that_do_not_fit_are_refused_with_their_number(tmp_path, changed, message):
    teacher = save(tmp_path / "t.npz", logits=LOGITS[0], sample_id=IDS)
    student = save(tmp_path / "s.npz", student=LOGITS[1], sample_id=changed(IDS))
    with pytest.raises(ValueError, match=message) as caught:
        load_logits(teacher, student=student)
    assert len(str(caught.value).replace(str(tmp_path), "")) <= 400


def test_a_student_with_fewer_rows_is_refused_by_its_ids(tmp_path):
    teacher = save(tmp_path / "t.npz", logits=LOGITS[0], sample_id=IDS)
    student = save(tmp_path / "s.npz", student=LOGITS[1][:-9], sample_id=IDS[:-9])
    with pytest.raises(ValueError, match=r"s\.npz lacks 9 of the 500 samples of the other file"):
        load_logits(teacher, student=student)


@pytest.mark.parametrize(
    ("ours", "theirs", "order"),
    [
        ({}, {}, "rows of s.npz taken in their order: the files have no sample_id"),
        ({"sample_id": IDS}, {}, "rows of s.npz taken in their order: s.npz has no sample_id"),
        ({}, {"sample_id": IDS}, "rows of s.npz taken in their order: the first file has no"),
    ],
)
def test_without_ids_rows_are_taken_in_their_order_and_it_is_said(tmp_path, ours, theirs, order):
    teacher = save(tmp_path / "t.npz", logits=LOGITS[0], **ours)
    student = save(tmp_path / "s.npz", student=LOGITS[1], **theirs)
    logits = load_logits(teacher, student=student)
    (batch,) = logits.batches(N, ["student_logits"])
    np.testing.assert_array_equal(batch["student_logits"], LOGITS[1])
    assert logits.order.startswith(order)
    assert load_logits(teacher).order == ""


def test_files_with_the_same_ids_in_the_same_order_are_read_as_they_are(tmp_path):
    twice = np.where(np.arange(N) == 0, IDS[1], IDS)  # which of the two it is, the order says
    teacher = save(tmp_path / "t.npz", logits=LOGITS[0], sample_id=twice)
    student = save(tmp_path / "s.npz", student=LOGITS[1], sample_id=twice)
    logits = load_logits(teacher, student=student)
    (batch,) = logits.batches(N, ["student_logits"])
    np.testing.assert_array_equal(batch["student_logits"], LOGITS[1])
    assert logits.order == "rows of s.npz joined by sample_id"
