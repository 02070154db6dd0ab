"""torch.compile before or after the recorder: one row a step and sample, or an error that helps."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from toy import Training, batches, network

from kdanalysis import (
    GDKD,
    SDD,
    CrossEntropy,
    Layers,
    Recorder,
    Side,
    Store,
    Sum,
    every,
    open_run,
)

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))


pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


class Student(nn.Module):
    """A module that torch.compile takes as a user's own, which nn.Sequential is not."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = network(0)[:4], nn.Linear(16, 6)

    def forward(self, x):
        return self.head(self.body(x))


class Convolutions(nn.Module):
    """A map, its average and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(5, 6)

    def forward(self, x):
        return self.head(self.act(self.conv(x)).mean((2, 3)))


def wrapped(model: nn.Module, backend: str = "eager") -> nn.Module:
    return torch.compile(model, backend=backend)


def in_place(model: nn.Module, backend: str = "eager") -> nn.Module:
    model.compile(backend=backend)
    return model


def train(path, student, run=None, steps=3, layer="", **options) -> list[torch.Tensor]:
    """Train ``run(x)``, the student itself if None, under a recorder; return its weights."""
    training, options = Training(), {"schedule": every(1)} | options
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    sides = {"student": Side(student, layer), "teacher": training.teacher}
    with Recorder(path, LOSS, **sides, **options) as recorder:
        for x, y, index in batches(steps):
            training.teacher(x)
            (run or student)(x)
            recorder.loss(y, sample_id=index).backward()
            optimizer.step()
            optimizer.zero_grad()
    return list(student.state_dict().values())


def rows(path) -> dict[str, np.ndarray]:
    (found,) = open_run(path).batches(["step", "sample_id", "residual"], 100_000)
    return found


def assert_each_once(path, steps=3) -> None:
    found = rows(path)
    assert found["sample_id"].tolist() == list(range(10 * steps))
    assert found["step"].tolist() == np.repeat(range(steps), 10).tolist()
    assert found["residual"].max() < 1e-5


@pytest.mark.parametrize("layer", ["", "head"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("way", [wrapped, in_place])
def test_a_model_compiled_before_gives_each_row_once(tmp_path, way, backend, layer):
    train(tmp_path / "run", way(Student(), backend), layer=layer)
    assert_each_once(tmp_path / "run")


@pytest.mark.parametrize("layer", ["", "head"])
@pytest.mark.parametrize("way", [wrapped, in_place])
def test_a_model_compiled_after_gives_each_row_once(tmp_path, way, layer):
    student, seen = Student(), []

    def run(x):
        if not seen:
            seen.append(way(student))
        return seen[0](x)

    train(tmp_path / "run", student, run, layer=layer)
    assert_each_once(tmp_path / "run")
    assert counters["frames"]["ok"]  # the control: it was compiled


@pytest.mark.parametrize("way", [wrapped, in_place])
def test_a_compiled_model_that_has_run_can_be_recorded_as_a_whole(tmp_path, way):
    student = way(Student())
    student(torch.randn(10, 8))
    train(tmp_path / "run", student)
    assert_each_once(tmp_path / "run")


@pytest.mark.parametrize("way", [wrapped, in_place])
def test_a_layer_inside_compiled_code_that_has_run_is_refused_until_the_reset(tmp_path, way):
    student = way(Student())
    student(torch.randn(10, 8))
    with pytest.raises(ValueError, match=r"compiled code has run before .*compiler\.reset\(\)"):
        train(tmp_path / "run", student, layer="head")
    assert not any(m._forward_hooks for m in student.modules())
    torch.compiler.reset()
    train(tmp_path / "run", student, layer="head")
    assert_each_once(tmp_path / "run")


def test_hooks_inside_a_twin_of_a_compiled_model_do_not_fire(tmp_path):
    """What the refusal rests on: code is used again for another model of the class."""
    wrapped(Student())(torch.randn(10, 8))
    twin, fired = Student(), []
    twin.head.register_forward_hook(lambda *_: fired.append(1))
    compiled = wrapped(twin)
    compiled(torch.randn(10, 8))
    assert not fired
    with pytest.raises(ValueError, match="compiled code has run before"):
        train(tmp_path / "run", compiled, layer="head")


def test_a_map_inside_compiled_code_that_has_run_is_refused(tmp_path):
    student = wrapped(Convolutions())
    student(torch.randn(2, 3, 8, 8))
    with pytest.raises(ValueError, match="the student is compiled, and compiled code has run"):
        Recorder(tmp_path / "run", SDD(GDKD(k=2)), student=student)


def test_compiled_code_the_recorder_does_not_know_of_is_an_error_at_the_first_step(tmp_path):
    student = network(0)
    compiled = wrapped(student)
    compiled(torch.randn(10, 8))
    with pytest.raises(RuntimeError, match=r"no forward pass .* pass the compiled model, or call"):
        train(tmp_path / "run", student, compiled)


WHOLE_STEP = """
import sys
sys.path.insert(0, {tests!r})
import torch
from toy import Training, batches
from kdanalysis import KD, Recorder, every
training = Training()
sides = {{"student": training.student, "teacher": training.teacher}}
with Recorder({path!r}, KD(), schedule=every(1), **sides) as recorder:
    @torch.compile(backend="eager")
    def step(x, y, index):
        training.teacher(x)
        training.student(x)
        return recorder.loss(y, sample_id=index)
    for x, y, index in batches(12):
        step(x, y, index).backward()
        torch._dynamo.config.error_on_recompile = recorder.step > 1
"""


def test_a_compiled_training_step_may_hold_the_recorder(tmp_path):
    """In a process of its own: the shape checks of these tests cannot be compiled."""
    tests = str(Path(__file__).parents[1])
    program = WHOLE_STEP.format(tests=tests, path=str(tmp_path / "run"))
    subprocess.run([sys.executable, "-c", program], check=True)
    assert_each_once(tmp_path / "run", 12)


@pytest.mark.parametrize("layer", ["", "head"])
@pytest.mark.parametrize("way", [wrapped, in_place])
def test_capture_compiles_nothing_again(tmp_path, way, layer):
    def frames(steps: int) -> int:
        torch.compiler.reset()
        counters.clear()
        options = {"schedule": every(3), "store": Store(existing="overwrite"), "layer": layer}
        train(tmp_path / "run", way(Student()), steps=steps, **options)
        return counters["frames"]["total"]

    assert frames(2) == frames(20) > 0


def test_training_of_a_compiled_model_is_bit_equal_with_and_without_capture(tmp_path):
    def weights(schedule: Callable[[int], bool], steps: int = 12) -> list[torch.Tensor]:
        torch.manual_seed(3)
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        student = wrapped(Student(), "aot_eager")
        return train(path, student, steps=steps, schedule=schedule)

    captured, hardly = weights(every(1)), weights(lambda step: step == 11)
    assert all(torch.equal(a, b) for a, b in zip(captured, hardly, strict=True))
    other = weights(every(1), 11)  # the control
    assert not all(torch.equal(a, b) for a, b in zip(captured, other, strict=True))


def test_gradients_at_layers_are_those_of_the_plain_model(tmp_path):
    frames = []
    for name, way in (("plain", lambda model: model), ("compiled", wrapped)):
        torch.manual_seed(3)
        train(tmp_path / name, way(Student()), keep=Layers("body", "head"))
        found = [
            pd.DataFrame(batch)
            for batch in open_run(tmp_path / name).batches(batch_size=100, kind="layers")
        ]
        frames.append(pd.concat(found))
    pd.testing.assert_frame_equal(*frames, rtol=1e-4, atol=1e-7)


def test_regions_of_a_compiled_model_are_recorded(tmp_path):
    loss, y = SDD(GDKD(k=2), scales=(1, 2)), torch.arange(4)
    sides = {side: wrapped(Convolutions()) for side in ("student", "teacher")}
    with Recorder(tmp_path / "run", loss, schedule=every(1), **sides) as recorder:
        for _ in range(2):
            x = torch.randn(4, 3, 8, 8)
            for model in sides.values():
                model(x)
            recorder.loss(y).backward()
    assert rows(tmp_path / "run")["step"].tolist() == [0] * 4 + [1] * 4
    assert rows(tmp_path / "run")["residual"].max() < 1e-4


def test_memory_that_a_compiled_backward_pass_gives_away_is_said(tmp_path, monkeypatch):
    def refuses(*_, **__):
        raise RuntimeError("This backward function was compiled with non-empty donated buffers")

    monkeypatch.setattr(torch.autograd, "grad", refuses)
    with pytest.raises(RuntimeError, match=r"set torch\._functorch\.config\.donated_buffer = Fal"):
        train(tmp_path / "run", Student(), keep=Layers("body"))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inductors_code_is_recorded_and_its_layers_with_buffers_kept(tmp_path):
    def student():
        return wrapped(Convolutions(), "inductor")

    def run(model, **options):
        sides = {"student": model, "teacher": Convolutions()}
        with Recorder(tmp_path / "run", LOSS, **sides, **options) as recorder:
            for side in sides.values():
                side(torch.randn(4, 3, 8, 8))
            recorder.loss(torch.arange(4)).backward()

    run(student())
    assert rows(tmp_path / "run")["residual"].max() < 1e-5
    with pytest.raises(RuntimeError, match=r"donated_buffer = False"):
        run(student(), keep=Layers("conv"), store=Store(existing="overwrite"))
    torch.compiler.reset()
    with torch._functorch.config.patch(donated_buffer=False):
        run(student(), keep=Layers("conv"), store=Store(existing="overwrite"))
    assert rows(tmp_path / "run")["residual"].max() < 1e-5
