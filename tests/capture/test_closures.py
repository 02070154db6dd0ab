"""A step is the optimizer's, however often it runs the loss: its first pass is what counts."""

import gc
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import optimizer as optimizers
from toy import Training, batches

from kdanalysis import KD, Layers, Recorder, Store, Sum, every, open_run
from kdanalysis.losses import CrossEntropy

LOSS = Sum(CrossEntropy(), KD())


class SAM(torch.optim.Optimizer):
    """Sharpness-aware: climbs by rho along the gradient, and descends from where it was."""

    def __init__(self, parameters, rho=0.05):
        super().__init__(parameters, {"rho": rho})
        self.base = torch.optim.SGD(self.param_groups, lr=0.1)

    @torch.no_grad()
    def step(self, closure):
        closure = torch.enable_grad()(closure)
        closure()
        where = [p.clone() for p in self._parameters()]
        for p in self._parameters():
            p += self.defaults["rho"] * p.grad
        closure()
        for p, old in zip(self._parameters(), where, strict=True):
            p.copy_(old)
        self.base.step()

    def _parameters(self):
        return [p for group in self.param_groups for p in group["params"]]


OPTIMIZERS = {
    "SAM": SAM,
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=4),
}


def train(path, make, ids=True, first=False, halves=False, steps=3, **options):
    """Steps of a closure; the logits of its first pass in each, and the recorder's last step."""
    training, seen = Training(), []
    optimizer = make(training.student.parameters())
    options = {"schedule": every(1), "store": Store("float32")} | options
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(path, LOSS, **sides, **options) as recorder:
        for x, y, index in batches(steps):
            passes, size = [], 5 if halves else 10

            def closure(x=x, y=y, index=index, passes=passes, size=size):
                optimizer.zero_grad()
                parts = [part.split(size) for part in (x, y, index)]
                for x, y, index in zip(*parts, strict=True):
                    student, _ = training.forward(x)
                    passes.append(student.detach().clone())
                    loss = recorder.loss(y.clone(), index if ids else None)
                    loss.backward()
                return loss

            if first:
                closure()
            optimizer.step(closure)
            assert len(passes) > 2 or make is SAM  # the control: the closure ran again
            seen += passes[: 2 if halves else 1]
        return torch.cat(seen), recorder.step


def read(path) -> dict[str, np.ndarray]:
    (rows,) = open_run(path).batches(("step", "sample_id", "student_logits", "residual"), 1000)
    return rows


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_first_pass_of_a_step_is_recorded_and_counted_the_others_not(tmp_path, make, ids):
    first, steps = train(tmp_path / "run", make, ids)
    rows = read(tmp_path / "run")
    assert steps == 3
    assert rows["step"].tolist() == np.repeat(range(3), 10).tolist()
    assert rows["sample_id"].tolist() == (list(range(30)) if ids else [*range(10)] * 3)
    np.testing.assert_array_equal(rows["student_logits"], first.numpy())
    assert rows["residual"].max() < 1e-5


def test_a_pass_right_before_the_step_is_its_first(tmp_path):
    first, steps = train(tmp_path / "run", SAM, first=True)
    rows = read(tmp_path / "run")
    assert steps == 3
    np.testing.assert_array_equal(rows["student_logits"], first.numpy())


def test_the_parts_of_a_batch_inside_one_closure_are_a_step_each(tmp_path):
    first, steps = train(tmp_path / "run", OPTIMIZERS["LBFGS"], halves=True)
    rows = read(tmp_path / "run")
    assert steps == 6
    assert rows["sample_id"].tolist() == list(range(30))
    np.testing.assert_array_equal(rows["student_logits"], first.numpy())


def test_layers_are_those_of_the_first_passes(tmp_path):
    train(tmp_path / "run", SAM, keep=Layers("4"))
    assert sorted(set(open_run(tmp_path / "run").table("layers").step)) == [0, 1, 2]


def test_a_closure_that_failed_does_not_swallow_what_comes_after(tmp_path):
    training = Training()
    optimizer = torch.optim.LBFGS(training.student.parameters())
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:

        def closure(x, y, index):
            training.forward(x)
            recorder.loss(y, index).backward()
            raise KeyError("the closure that fails")

        for x, y, index in batches(2):
            with pytest.raises(KeyError):
                optimizer.step(partial(closure, x, y, index))
        for _ in range(2):  # and one batch again and again is as many steps outside a closure
            training.forward(x)
            training.update(recorder.loss(y, index))
    assert read(tmp_path / "run")["step"].tolist() == np.repeat(range(4), 10).tolist()


def test_no_hook_is_left_on_optimizers(tmp_path):
    training = Training()
    before = len(optimizers._global_optimizer_pre_hooks)
    recorder = Recorder(tmp_path / "run", LOSS, student=training.student)
    assert len(optimizers._global_optimizer_pre_hooks) == before + 1
    recorder.close()
    assert len(optimizers._global_optimizer_pre_hooks) == before
    dropped = Recorder(tmp_path / "other", LOSS, student=training.student)
    del dropped
    gc.collect()
    assert len(optimizers._global_optimizer_pre_hooks) == before
    with pytest.raises(ValueError, match="no layer 'nine'"):
        Recorder(tmp_path / "third", LOSS, student=training.student, keep=Layers("nine"))
    assert len(optimizers._global_optimizer_pre_hooks) == before


def test_other_images_of_the_same_labels_are_no_repetition(tmp_path):
    training = Training()
    optimizer = torch.optim.SGD(training.student.parameters(), 0.1)
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, **sides, schedule=every(1)) as recorder:
        (x, *_), *_ = batches(1)
        label, y = torch.ones(2, dtype=torch.long), torch.empty(2, dtype=torch.long)

        def closure():
            optimizer.zero_grad()
            for images in x[:6].split(2):
                training.forward(images)
                loss = recorder.loss(y.copy_(label))  # a buffer that is filled anew
                loss.backward()
            return loss

        optimizer.step(closure)
        assert recorder.step == 3


def by_hand(recorder, training, way, x, y, index):
    """One step outside a closure, of two passes unless the way says else."""
    views = {"other data": (x[:5], x[5:]), "other views": (x, 0.9 * x)}.get(way, (x, x))
    for number, view in enumerate(views):
        rows = index[:5] + 5 * number if way == "other data" else index
        label = y[rows - index[0]] if way == "other data" else y
        training.forward(view)
        recorder.loss(label, None if way == "no ids" else rows).backward()
        if way in ("SAM", "no ids", "no optimizer"):
            with torch.no_grad():
                for p in training.student.parameters():
                    p += 0.05 * p.grad
    if way != "no optimizer":
        training.optimizer.step()
    training.optimizer.zero_grad()


@pytest.mark.parametrize("way", ["SAM", "no ids"])
def test_a_second_pass_by_hand_is_counted_and_warned_of_once(tmp_path, way):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, **sides, schedule=every(1)) as recorder:
        first, *others = batches(3)
        by_hand(recorder, training, way, *first)  # nothing is known before the first step
        with pytest.warns(RuntimeWarning, match=r"10 samples came twice in a row .*step.closure.$"):
            by_hand(recorder, training, way, *others[0])
        by_hand(recorder, training, way, *others[1])  # a second warning would be an error
        assert recorder.step == 6


@pytest.mark.parametrize("way", ["other data", "other views", "same weights", "no optimizer"])
def test_passes_of_other_data_or_at_the_same_weights_are_not_warned_of(tmp_path, way):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, **sides, schedule=every(1)) as recorder:
        for batch in batches(3):
            by_hand(recorder, training, way, *batch)
        assert recorder.step == 6
