"""Block-wise distillation through the recorder: what it computes, stores and compares."""

import numpy as np
import pytest
import torch

from kdanalysis import (
    DKD,
    Blockwise,
    Ladder,
    Layers,
    Recorder,
    Store,
    every,
    open_run,
)
from kdanalysis.store.info import RunInfo
from kdanalysis.studies.setting import trained_loss
from tests.stones.pairs import images, pair

LOSS = Blockwise(DKD(temperature=2.0), task=0.5, cross=2.0)
LABELS = torch.tensor([0, 1, 2, 3])


def train(path, recorded=LOSS, trained=LOSS, **options) -> list[torch.Tensor]:
    """Three steps; return the training's values and final weights."""
    made = pair("resnet")
    ladder = Ladder(made.student, made.teacher, images())
    optimizer = torch.optim.SGD(ladder.parameters(), lr=0.05)
    options = {"schedule": every(1), "store": Store("float32"), "student": made.student} | options
    values = []
    with Recorder(path, recorded, **options) as recorder:
        for step in range(3):
            out = ladder(images(step))
            value = sum(trained(*out, LABELS).values()).mean()
            if recorded is trained:
                value = recorder.loss(LABELS, student=out.student, teacher=out.teacher)
            else:
                recorder.observe(LABELS, student=out.student, teacher=out.teacher)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.detach())
    return [*values, *(p.detach() for p in made.student.parameters())]


def plain() -> list[torch.Tensor]:
    made = pair("resnet")
    ladder = Ladder(made.student, made.teacher, images())
    optimizer = torch.optim.SGD(ladder.parameters(), lr=0.05)
    values = []
    for step in range(3):
        value = sum(LOSS(*ladder(images(step)), LABELS).values()).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.detach())
    return [*values, *(p.detach() for p in made.student.parameters())]


def residuals(path) -> np.ndarray:
    (found,) = open_run(path).batches(("residual",), 100)
    return found["residual"]


def test_recording_gives_the_loss_and_changes_nothing(tmp_path):
    for mine, without in zip(train(tmp_path / "run"), plain(), strict=True):
        assert torch.equal(mine, without)
    assert (residuals(tmp_path / "run") < 1e-5).all()


def test_the_students_own_logits_are_what_is_stored(tmp_path):
    train(tmp_path / "run")
    made = pair("resnet")
    ladder = Ladder(made.student, made.teacher, images())
    (found,) = open_run(tmp_path / "run").batches(("step", "student_logits", "teacher_logits"), 100)
    first = found["step"] == 0
    logits, taught = ladder(images(0))
    np.testing.assert_allclose(found["student_logits"][first], logits[..., 0].detach(), atol=1e-5)
    np.testing.assert_allclose(found["teacher_logits"][first], taught, atol=1e-5)
    assert set(open_run(tmp_path / "run").info.weights) == set(LOSS.terms)


def test_a_forgotten_stone_shows_in_the_residual(tmp_path):
    train(tmp_path / "run", trained=Blockwise(DKD(temperature=2.0), task=0.5, cross=2.0, decay=0))
    assert (residuals(tmp_path / "run") > 0.01).all()


def test_the_terms_gradients_in_the_students_layers_are_those_of_autograd(tmp_path):
    train(tmp_path / "run", keep=Layers("layer1", "layer3", "fc", "logits", noise=False))
    table = open_run(tmp_path / "run").table("layers")
    own = table[(table.step == 0) & (table.term_a == table.term_b)]
    first = own.set_index(["layer", "term_a"]).norm_a

    made = pair("resnet")
    ladder = Ladder(made.student, made.teacher, images())
    out = ladder(images(0))
    for term, value in LOSS(*out, LABELS).items():
        for layer in ("layer1", "layer3", "fc"):
            parameters = list(made.student.get_submodule(layer).parameters())
            found = torch.autograd.grad(
                value.mean(), parameters, retain_graph=True, allow_unused=True
            )
            norm = sum(float(g.double().square().sum()) for g in found if g is not None) ** 0.5
            assert first[layer, term] == pytest.approx(norm, rel=1e-3, abs=1e-9)
    assert first["layer3", "stone_1/distill"] == 0  # which no gradient of stone 1 can reach


def test_a_runs_tables_look_at_the_base_loss(tmp_path):
    train(tmp_path / "run")
    info: RunInfo = open_run(tmp_path / "run").info
    assert repr(trained_loss(info)) == repr(DKD(temperature=2.0))
    assert len(open_run(tmp_path / "run").table("magnitude"))
    assert len(open_run(tmp_path / "run").table("share"))


def test_logits_without_the_stones_are_refused(tmp_path):
    made = pair("resnet")
    with Recorder(tmp_path / "run", LOSS, student=made.student) as recorder:
        logits = made.student(images())
        with pytest.raises(ValueError, match="needs the logits of the student and its stones"):
            recorder.loss(LABELS, teacher=logits)
        with pytest.raises(ValueError, match="needs the logits of the student and its stones"):
            recorder.loss(LABELS, student=logits, teacher=logits)
