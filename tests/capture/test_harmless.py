"""Observing changes nothing: bit-equal training, no hooks left, no memory that grows."""

import contextlib
import copy
import gc
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import Training, batches

from kdanalysis import (
    GDKD,
    SDD,
    CrossEntropy,
    Layers,
    Recorder,
    Store,
    Sum,
    every,
    open_run,
)
from kdanalysis.networks.zoo import build_model
from kdanalysis.store.lock import RankLock

LOSS = Sum(CrossEntropy(), GDKD(k=2))


def train(steps: int, path=None, computes: bool = False) -> Training:
    """Steps with dropout and momentum; the recorder watches, computes the loss, or is not there."""
    training = Training(dropout=0.3)
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 - the global generator is what must stay untouched
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": every(3), "max_rows": 4, **sides}
    recorder = None if path is None else Recorder(path, LOSS, **options)
    for x, y, index in batches(steps):
        student, teacher = training.forward(x)
        if recorder is not None and not computes:
            recorder.observe(y, sample_id=index)
        loss = sum(LOSS(student, teacher, y).values()).mean()
        training.update(recorder.loss(y, sample_id=index) if computes else loss)
    if recorder is not None:
        recorder.close()
    return training


def state(training: Training) -> list[torch.Tensor]:
    """Weights, momenta and the states of torch's and numpy's generators."""
    momenta = [entry["momentum_buffer"] for entry in training.optimizer.state.values()]
    numpy = torch.from_numpy(np.random.get_state()[1].astype(np.int64))  # noqa: NPY002
    return [*training.student.state_dict().values(), *momenta, torch.get_rng_state(), numpy]


@pytest.mark.parametrize("computes", [False, True], ids=["watches", "computes"])
def test_a_hundred_steps_are_bit_equal_with_and_without_capture(tmp_path, computes):
    watched = state(train(100, tmp_path / "run", computes))
    bare = state(train(100))
    assert all(torch.equal(a, b) for a, b in zip(watched, bare, strict=True))
    other = state(train(99))  # the control: another training differs
    assert not all(torch.equal(a, b) for a, b in zip(other, bare, strict=True))


PYTHONS_GENERATOR = """
import random, torch
from kdanalysis import Recorder, every
before = random.getstate()
with Recorder({path!r}, schedule=every(1), max_rows=1) as recorder:
    logits = torch.zeros(2, 3)
    recorder.observe(torch.tensor([0, 1]), student=logits, teacher=logits)
assert random.getstate() == before
"""


def test_pythons_random_numbers_are_left_alone(tmp_path):
    """In a process of its own: the shape checks of these tests draw some themselves."""
    program = PYTHONS_GENERATOR.format(path=str(tmp_path / "run"))
    subprocess.run([sys.executable, "-c", program], check=True)


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


def test_a_recorder_that_is_dropped_takes_its_hooks_along(tmp_path):
    training = Training()
    recorder = Recorder(tmp_path / "run", student=training.student, teacher=training.teacher)
    assert hooks(training.student) == 1  # the control
    del recorder
    gc.collect()
    assert hooks(training.student) == hooks(training.teacher) == 0


def test_a_recorder_that_is_dropped_writes_what_it_has_and_lets_its_run_go(tmp_path):
    path, options = tmp_path / "run", {"schedule": every(1), "store": Store(existing="overwrite")}
    for steps in (2, 3):  # as a cell of a notebook that was interrupted and runs again
        training = Training()
        sides = {"student": training.student, "teacher": training.teacher}
        recorder = Recorder(path, LOSS, **options, **sides)
        for x, y, index in batches(steps):
            training.forward(x)
            training.update(recorder.loss(y, sample_id=index))
        del recorder
        gc.collect()
    RankLock(path, 0, patience=30).release()  # once the writer thread has ended
    assert open_run(path).steps().tolist() == [0, 1]  # of the last step no end was told


@pytest.mark.parametrize("keep", [(), Layers("0", "4")], ids=["logits", "layers"])
def test_a_recorder_that_is_dropped_in_a_step_takes_its_hooks_along(tmp_path, keep):
    training, (x, y, _) = Training(), next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    recorder = Recorder(tmp_path / "run", LOSS, keep=keep, **sides)
    training.forward(x)
    loss = recorder.loss(y)
    assert any(p._post_accumulate_grad_hooks for p in training.student.parameters())  # the control
    del recorder
    gc.collect()
    assert hooks(training.student) == hooks(training.teacher) == 0
    loss.backward()


@pytest.mark.parametrize("loss", [LOSS, Sum(CrossEntropy(), SDD(GDKD(k=2), scales=(1, 2)))])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_no_hook_is_left_by_layers_and_regions(tmp_path, loss, error):
    student, teacher = build_model("resnet8", 6), build_model("resnet8", 6).eval()
    sides, x = {"student": student, "teacher": teacher}, torch.randn(3, 3, 16, 16)

    def run() -> None:
        with Recorder(tmp_path / "run", loss, keep=Layers("layer1", "fc"), **sides) as recorder:
            assert hooks(student) > 1  # the control
            for model in sides.values():
                model(x)
            recorder.loss(torch.arange(3))
            if error is not None:
                raise error

    with contextlib.suppress(ValueError, KeyboardInterrupt):
        run()
    assert hooks(student) == hooks(teacher) == 0


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_model_copied_in_the_middle_of_a_step_is_free_of_the_recorder(tmp_path, clone):
    """As for a moving average or a checkpoint, while the step's record waits."""
    training, (x, y, _) = Training(), next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, keep=Layers("4"), **sides) as recorder:
        training.forward(x)
        loss = recorder.loss(y)
        twin = clone(training.student)
        assert list(twin.state_dict()) == list(training.student.state_dict())
        twin(x).sum().backward()
        training.update(loss)
    (rows,) = open_run(tmp_path / "run").batches(["residual"], 100)
    assert rows["residual"].max() < 1e-5
    twin.train()(x)
    assert hooks(training.student) == 0


def test_an_exception_in_flight_is_not_replaced_by_a_later_one(tmp_path):
    student, teacher = torch.full((5, 6), 1e6), torch.randn(5, 6)
    y = torch.zeros(5, dtype=torch.long)

    def interrupted() -> None:
        with Recorder(tmp_path / "run", schedule=every(1)) as recorder:
            recorder.observe(y, student=student, teacher=teacher)
            raise KeyboardInterrupt

    told = pytest.warns(RuntimeWarning, match="ended: student_logits reach 1e.06, beyond")
    with told, pytest.raises(KeyboardInterrupt):
        interrupted()


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


MEMORY = """
import torch
from kdanalysis import Recorder, every
student, y = torch.randn(256, {classes}), torch.zeros(256, dtype=torch.long)
resident = lambda: 4 * int(open("/proc/self/statm").read().split()[1])  # KB
with Recorder({path!r}, schedule=every(1)) as recorder:
    kept = []
    for step in range({steps}):
        recorder.observe(y, student=student, teacher=student)
        kept += [b'x' * (100_000 + step)] if {leak} else []
        if step == 200:
            before = resident()
    print(resident() - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads resident memory from Linux's /proc"
)
@pytest.mark.parametrize(
    ("classes", "steps", "leak"),
    [
        (100, 4000, False),  # many, because a slow disk fills the bounded queue late
        (100, 400, True),
        pytest.param(1000, 2000, False, marks=pytest.mark.long),
    ],
)
def test_memory_does_not_grow_with_the_number_of_steps(tmp_path, classes, steps, leak):
    """Less than 1 KB a step after the first 200, while parts fill; the control leaks 100 KB."""
    program = MEMORY.format(path=str(tmp_path / "run"), classes=classes, steps=steps, leak=leak)
    command = [sys.executable, "-c", program]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (grown < steps - 200) is not leak
