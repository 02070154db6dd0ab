"""Under autocast and a GradScaler: gradients without the factor, and overflow that is flagged."""

import re

import numpy as np
import pytest
import torch
from toy import Training, batches

from kdanalysis import (
    GDKD,
    CrossEntropy,
    Layers,
    Recorder,
    Scaling,
    Sum,
    every,
    open_run,
)
from kdanalysis.studies.facts import residual_fact

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))
HALF = {"float16": 2e-3, "bfloat16": 1.6e-2}  # what rounding leaves of a gradient


class Mixed:
    """A training with autocast, a GradScaler, accumulation and clipping, as in PyTorch's notes."""

    def __init__(self, factor: float = 1024.0, accumulate: int = 1, dropout: float = 0.0) -> None:
        self.training, self.accumulate = Training(dropout), accumulate
        self.scaler = torch.amp.GradScaler("cpu", init_scale=factor, growth_interval=10_000)
        self.sent, self.skipped = [], []

    def run(self, path, steps=4, dtype=torch.float16, **options) -> None:
        sides = {"student": self.training.student, "teacher": self.training.teacher}
        scaling = Scaling(self.scaler, self.accumulate)
        options = {"schedule": every(1), "scaling": scaling, "loss": LOSS} | options
        with Recorder(path, **sides, **options) as recorder:
            for x, y, index in batches(steps):
                with torch.autocast("cpu", dtype):
                    logits, teacher = self.training.forward(x)
                    loss = recorder.loss(y, sample_id=index) / self.accumulate
                self.watch(logits, teacher, y)
                self.scaler.scale(loss).backward()
                if recorder.step % self.accumulate == 0:
                    self.update()

    def watch(self, logits, teacher, y) -> None:
        factor = self.scaler.get_scale() / self.accumulate / len(y)
        student, teacher = logits.detach().float(), teacher.float()
        logits.register_hook(
            lambda sent: self.sent.append((sent.float() / factor, student, teacher, y))
        )

    def update(self) -> None:
        optimizer, parameters = self.training.optimizer, self.training.student.parameters()
        before = self.scaler.get_scale()
        self.scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad()
        self.skipped.append(self.scaler.get_scale() < before)


def residual(path) -> np.ndarray:
    (rows,) = open_run(path).batches(["residual", "step", "sample_id"], 100_000)
    assert len(set(zip(rows["step"], rows["sample_id"], strict=True))) == len(rows["step"])
    return rows["residual"]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("dtype", HALF)
def test_gradients_without_the_factor_are_those_of_float32(tmp_path, dtype, accumulate):
    mixed = Mixed(accumulate=accumulate)
    mixed.run(tmp_path / "run", dtype=getattr(torch, dtype))
    found = residual(tmp_path / "run")
    assert len(found) == 40
    assert 0 < found.max() < HALF[dtype]
    for sent, student, teacher, y in mixed.sent:  # autograd's own, in float32
        student.requires_grad_()
        sum(LOSS(student, teacher, y).values()).sum().backward()
        assert (sent - student.grad).norm() < HALF[dtype] * student.grad.norm()
    assert not any(mixed.skipped)


def test_a_factor_the_recorder_is_not_told_of_shows(tmp_path):
    Mixed().run(tmp_path / "run", scaling=None)
    assert residual(tmp_path / "run").min() > 0.9


def test_steps_whose_gradient_overflowed_are_flagged_and_no_others(tmp_path):
    mixed = Mixed(factor=2.0**22)
    mixed.run(tmp_path / "run", steps=8)
    assert set(mixed.skipped) == {True, False}
    found = residual(tmp_path / "run").reshape(8, 10)
    assert np.isinf(found).all(-1).tolist() == mixed.skipped
    assert found[np.isfinite(found)].reshape(-1, 10).max() < 2e-3
    whole = [bool(sent.isfinite().all()) for sent, *_ in mixed.sent]
    assert whole != [not skipped for skipped in mixed.skipped]  # some only behind the logits


def test_an_overflow_without_a_scaler_is_flagged_row_by_row(tmp_path):
    student, teacher = torch.randn(2, 5, 6)
    y = torch.zeros(5, dtype=torch.long)
    with Recorder(tmp_path / "run", LOSS, schedule=every(1)) as recorder:
        student.requires_grad_()
        recorder.loss(y, student=student, teacher=teacher)
        sent = sum(LOSS.gradients(student.detach(), teacher, y).values()) / 5
        sent[2, 1] = float("inf")
        student.backward(sent)
    assert np.isinf(residual(tmp_path / "run")).tolist() == [False, False, True, False, False]


def test_facts_count_what_overflowed_beside_the_median(tmp_path):
    Mixed(factor=2.0**22).run(tmp_path / "some", steps=8)
    words = residual_fact(open_run(tmp_path / "some"))
    assert re.search(r"0 is as declared; \d0 samples whose gradient overflowed$", words)
    assert float(words.split()[0]) < 2e-3
    Mixed(factor=2.0**22).run(tmp_path / "all", steps=2)
    assert residual_fact(open_run(tmp_path / "all")) == "20 samples whose gradient overflowed"


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("keep", [(), Layers("0", "4")], ids=["logits", "layers"])
def test_mixed_training_is_bit_equal_with_and_without_capture(tmp_path, dtype, keep):
    def train(schedule, keep=(), steps=30):
        mixed = Mixed(accumulate=2, dropout=0.3)
        torch.manual_seed(7)
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        options = {"schedule": schedule, "keep": keep}
        mixed.run(path, steps, getattr(torch, dtype), **options)
        momenta = [s["momentum_buffer"] for s in mixed.training.optimizer.state.values()]
        weights = mixed.training.student.state_dict().values()
        return [*weights, *momenta, torch.get_rng_state()]

    captured, hardly = train(every(1), keep), train(lambda step: step == 29)
    assert all(torch.equal(a, b) for a, b in zip(captured, hardly, strict=True))
    other = train(every(1), steps=28)  # the control
    assert not all(torch.equal(a, b) for a, b in zip(captured, other, strict=True))
