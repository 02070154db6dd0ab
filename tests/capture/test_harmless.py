"""Observing changes nothing: bit-equal training, no hooks left, no memory that grows."""

import copy
import gc
import pickle
import random

import numpy as np
import pytest
import torch
from toy import Training, batches

from kdanalysis import GDKD, CrossEntropy, Recorder, Sum, every

LOSS = Sum(CrossEntropy(), GDKD(k=2))


def train(steps: int, path=None) -> Training:
    """100 steps with dropout and momentum, with the recorder or without."""
    training = Training(dropout=0.3)
    torch.manual_seed(7)
    random.seed(7)
    np.random.default_rng(7)
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": every(3), "max_rows": 4, **sides}
    recorder = None if path is None else Recorder(path, LOSS, **options)
    for x, y, index in batches(steps):
        student, teacher = training.forward(x)
        if recorder is not None:
            recorder.observe(y, sample_id=index)
        training.update(sum(LOSS(student, teacher, y).values()).mean())
    if recorder is not None:
        recorder.close()
    return training


def state(training: Training) -> list[torch.Tensor]:
    momenta = [entry["momentum_buffer"] for entry in training.optimizer.state.values()]
    return [*training.student.state_dict().values(), *momenta, torch.get_rng_state()]


def test_a_hundred_steps_are_bit_equal_with_and_without_capture(tmp_path):
    python = random.getstate()
    watched = state(train(100, tmp_path / "run"))
    random.setstate(python)
    bare = state(train(100))
    assert all(torch.equal(a, b) for a, b in zip(watched, bare, strict=True))
    other = state(train(99))  # the control: another training differs
    assert not all(torch.equal(a, b) for a, b in zip(other, bare, strict=True))


def hooks(model: torch.nn.Module) -> int:
    modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return modules + sum(len(p._post_accumulate_grad_hooks or ()) for p in model.parameters())


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_no_hook_is_left_after_success_bad_input_or_interruption(tmp_path, error):
    training = Training()
    keys = list(training.student.state_dict())
    sides = {"student": training.student, "teacher": training.teacher}
    x, y, _ = next(batches(1))

    def run() -> None:
        with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
            assert hooks(training.student) > 0  # the control
            training.forward(x)
            loss = recorder.loss(y)
            if error is not None:
                raise error
            training.update(loss)
        recorder.close()

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert hooks(training.student) == hooks(training.teacher) == 0
    assert list(training.student.state_dict()) == keys
    pickle.loads(pickle.dumps(training.student))
    copy.deepcopy(training.student)


def test_an_exception_in_forward_leaves_no_hook(tmp_path):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    with (
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
        Recorder(tmp_path / "run", LOSS, **sides),
    ):
        training.forward(torch.zeros(3, 5))
    assert hooks(training.student) == hooks(training.teacher) == 0


def test_no_graph_is_kept_once_a_step_is_over(tmp_path):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
        for x, y, _ in batches(20):
            training.forward(x)
            training.update(recorder.loss(y))
        gc.collect()
        alive = [
            entry
            for entry in gc.get_objects()
            if type(entry) is torch.Tensor and entry.grad_fn is not None
        ]
    assert len(alive) <= 2  # the last loss, and nothing of the steps before


def test_memory_does_not_grow_with_the_number_of_steps(tmp_path):
    """Fault 10 in short: 256 x 100 logits, the part buffer small enough to fill several times."""
    import resource

    student = torch.randn(256, 100)
    y = torch.zeros(256, dtype=torch.long)

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KB

    with Recorder(tmp_path / "run", schedule=every(1)) as recorder:
        for step in range(1200):
            recorder.observe(y, student=student, teacher=student)
            if step == 200:
                before = peak()
    assert peak() - before < 1000  # less than 1 KB a step
