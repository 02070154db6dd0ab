"""Teacher logits from a file in place of a teacher, chosen by sample id."""

import numpy as np
import pytest
import torch
from toy import Training, batches

from kdanalysis import (
    GDKD,
    CrossEntropy,
    Recorder,
    Store,
    Sum,
    every,
    open_run,
)
from kdanalysis.capture.samples import check_batch

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))


def train(path, saved, computes=True) -> dict[str, np.ndarray]:
    """Train on saved logits, the samples in another order than they are saved in."""
    training, order = Training(), torch.randperm(30, generator=torch.Generator().manual_seed(1))
    options = {"schedule": every(1), "store": Store("float32"), "student": training.student}
    with Recorder(path, LOSS, **options) as recorder:
        for (x, y, _), index in zip(batches(3), order.split(10), strict=True):
            student = training.student(x)
            if computes:
                training.update(recorder.loss(y, sample_id=index, teacher=saved[index]))
            else:
                recorder.observe(y, sample_id=index, teacher=saved[index])
                training.update(sum(LOSS(student, saved[index], y).values()).mean())
    (rows,) = open_run(path).batches(["sample_id", "teacher_logits", "residual"], 100)
    return rows


@pytest.mark.parametrize("computes", [True, False], ids=["computes", "observes"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_saved_teacher_logits_train_and_are_stored_by_sample(tmp_path, dtype, computes):
    numbers = np.random.default_rng(0).normal(size=(30, 6)).astype(dtype)
    np.savez(tmp_path / "teacher.npz", teacher_logits=numbers)
    saved = torch.from_numpy(np.load(tmp_path / "teacher.npz")["teacher_logits"])
    rows = train(tmp_path / "run", saved, computes)
    assert sorted(rows["sample_id"]) == list(range(30))
    np.testing.assert_array_equal(rows["teacher_logits"], numbers[rows["sample_id"]].astype("f4"))
    assert rows["residual"].max() < 1e-5


def test_saved_logits_that_are_no_tensor_are_refused():
    with pytest.raises(ValueError, match="teacher must be a torch tensor, got ndarray"):
        check_batch(torch.zeros(5, 6), np.zeros((5, 6)), torch.zeros(5, dtype=torch.long), None)


def test_a_student_trained_without_a_teacher_is_told_to_give_its_logits(tmp_path):
    training, (x, y, _) = Training(), next(batches(1))
    with Recorder(tmp_path / "run", LOSS, student=training.student) as recorder:
        training.student(x)
        with pytest.raises(RuntimeError, match="has no teacher: pass the model or its logits"):
            recorder.loss(y)


def test_passes_whose_logits_were_given_are_not_those_of_the_next_step(tmp_path):
    training, (x, y, _) = Training(), next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
        for _ in range(2):
            training.forward(x)
            halves = torch.cat([training.student(half) for half in x.chunk(2)])
            training.update(recorder.loss(y, student=halves))
            with pytest.raises(RuntimeError, match="no forward pass of the student was seen"):
                recorder.loss(y, teacher=torch.zeros_like(halves))
