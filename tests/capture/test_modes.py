"""What a teacher's forward pass does beside its answer is seen, whatever its modules are called."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toy import batches, network

from kdanalysis import KD, Recorder, every
from kdanalysis.networks.mode import settle, shared_modules


class DropPath(nn.Module):
    """Stochastic depth as models bring it along: no class that torch knows."""

    def forward(self, x):
        keep = torch.rand(len(x), 1) > 0.5
        return x * keep if self.training else x


class Functional(nn.Module):
    """Dropout by the function; ``always`` forgets that it depends on the mode."""

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.always = always

    def forward(self, x):
        return F.dropout(x, 0.5, training=self.always or self.training)


class Average(nn.Module):
    """A running mean of one's own, moved by every pass in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.mean(0), 0.1)
        return x - self.mean


def heard(path, teacher: nn.Module, student: nn.Module | None = None) -> list[str]:
    """Warnings of three captured steps."""
    sides = {"teacher": teacher, "student": student or network(0)}
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        with Recorder(path, KD(), schedule=every(1), **sides) as recorder:
            for x, y, _ in batches(3):
                sides["student"](x), teacher(x)
                recorder.observe(y)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize(
    ("layer", "did"),
    [
        (DropPath(), "draws random numbers, as DropPath"),
        (Functional(), "draws random numbers"),
        (nn.RReLU(), "draws random numbers"),
        (Average(), r"changes its buffer '0.mean'"),
    ],
)
def test_a_teacher_in_train_mode_is_known_by_what_it_does(tmp_path, layer, did):
    teacher = nn.Sequential(layer, nn.Linear(8, 6)).train()
    (message,) = heard(tmp_path / "run", teacher)
    assert message.startswith("the teacher is in train mode ('0' and 2 more modules): its forward")
    assert did in message
    assert message.endswith("call teacher.eval(), unless it learns as well")


@pytest.mark.parametrize("layer", [DropPath(), Functional(), nn.RReLU(), Average()])
def test_in_evaluation_mode_the_same_teachers_are_fixed(tmp_path, layer):
    layer.eval()
    if isinstance(layer, DropPath):  # which draws in both modes; the mask is not used in one
        layer.forward = lambda x: x
    assert heard(tmp_path / "run", nn.Sequential(layer, nn.Linear(8, 6)).eval()) == []


def test_dropout_that_forgets_the_mode_is_known_too(tmp_path):
    teacher = nn.Sequential(nn.Linear(8, 6), Functional(always=True)).eval()
    (message,) = heard(tmp_path / "run", teacher)
    assert "is in evaluation mode: its forward pass draws random numbers" in message
    assert message.endswith("let training=self.training tell F.dropout and its like")


def test_a_mode_switched_around_the_teachers_pass_is_the_one_that_counts(tmp_path):
    teacher = nn.Sequential(Functional(), nn.Linear(8, 6)).train()

    class Switching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = teacher

        def forward(self, x):
            self.inner.eval()
            try:
                return self.inner(x)
            finally:
                self.inner.train()

    assert heard(tmp_path / "run", Switching()) == []
    assert heard(tmp_path / "control", teacher)


def test_looking_at_a_teacher_draws_nothing_and_changes_nothing(tmp_path):
    states = []
    for path in (tmp_path / "run", None):
        teacher = nn.Sequential(Average(), Functional(), nn.Linear(8, 6)).train()
        torch.manual_seed(3)
        if path is not None:
            heard(path, teacher, nn.Linear(8, 6).requires_grad_(False))
        else:
            nn.Linear(8, 6)
            for x, _, _ in batches(3):
                teacher(x)
        states.append((torch.get_rng_state(), teacher[0].mean))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_of_modules_that_both_sides_have_the_warning_says_what_helps(tmp_path):
    body = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    student, teacher = (nn.Sequential(body, nn.Linear(8, 6)) for _ in range(2))
    (message,) = heard(tmp_path / "run", teacher, student)
    assert "'0.1' is the student's too, so its mode is that of both" in message


def test_what_both_have_keeps_its_mode_when_a_teacher_is_settled():
    body, alone = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)), nn.Dropout(0.5)
    student, teacher = nn.Sequential(body, nn.Linear(8, 6)), nn.Sequential(body, alone)
    whole = nn.ModuleDict({"student": student, "teacher": teacher})
    assert [*shared_modules(teacher, [whole])] == ["0", "0.0", "0.1"]
    settle(teacher, [whole])
    assert body.training
    assert body[1].training
    assert not teacher.training
    assert not alone.training
