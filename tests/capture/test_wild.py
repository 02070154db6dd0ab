"""Training as people do it: checkpointing, layouts, unsettled teachers, logits overwritten."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from toy import Training, batches, network

from kdanalysis import (
    GDKD,
    KD,
    SDD,
    CrossEntropy,
    Layers,
    Recorder,
    Side,
    Store,
    Sum,
    at,
    every,
    open_run,
)
from kdanalysis.networks.zoo import build_model

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))
REENTRANT = pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "not reentrant"])


def read(path) -> dict[str, np.ndarray]:
    names = ("step", "sample_id", "residual", "student_logits", "teacher_logits")
    (rows,) = open_run(path).batches(names, 100_000)
    return rows


def train(path, run=None, steps=3, layer="", **options) -> tuple[Training, list[torch.Tensor]]:
    """Train ``run(student, x)`` on the loss of a recorder; return the logits it gave as well."""
    training, seen = Training(), []
    sides = {"student": Side(training.student, layer), "teacher": training.teacher}
    options = {"schedule": every(1), "store": Store("float32")} | sides | options
    with Recorder(path, LOSS, **options) as recorder:
        for x, y, index in batches(steps):
            with torch.no_grad():
                training.teacher(x)
            x.requires_grad_()  # which reentrant checkpointing needs
            logits = training.student(x) if run is None else run(training.student, x)
            seen.append(logits.detach().clone())
            training.update(recorder.loss(y, sample_id=index))
    return training, seen


def assert_as_plain(tmp_path, run, **options) -> None:
    """Each row is there once, as the model gave it, and training goes as it does without."""
    training, seen = train(tmp_path / "run", run, **options)
    found = read(tmp_path / "run")
    assert found["sample_id"].tolist() == list(range(30))
    np.testing.assert_array_equal(found["student_logits"], torch.cat(seen).numpy())
    assert found["residual"].max() < 1e-5
    plain, _ = train(tmp_path / "plain")
    for a, b in zip(training.student.parameters(), plain.student.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@REENTRANT
def test_a_checkpointed_model_gives_each_row_once(tmp_path, reentrant):
    assert_as_plain(tmp_path, lambda model, x: checkpoint(model, x, use_reentrant=reentrant))


@REENTRANT
def test_a_checkpointed_body_gives_each_row_once(tmp_path, reentrant):
    def run(model, x):
        return model[4](checkpoint(model[:4], x, use_reentrant=reentrant))

    assert_as_plain(tmp_path, run, layer="4")


def test_a_layer_inside_a_checkpointed_model_gives_each_row_once(tmp_path):
    def run(model, x):
        return checkpoint(model, x, use_reentrant=False)

    assert_as_plain(tmp_path, run, layer="4")


def observe(tmp_path, run) -> None:
    """One step beside a loss of one's own."""
    training, (x, y, _) = Training(), next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, **sides) as recorder:
        training.teacher(x)
        logits = run(training.student, x.requires_grad_())
        recorder.observe(y)
        if logits.requires_grad:
            logits.sum().backward()


@pytest.mark.parametrize(
    "run",
    [
        lambda model, x: 1.0 * checkpoint(lambda x: 1.0 * model(x), x, use_reentrant=True),
        lambda model, x: torch.no_grad()(model)(x),
    ],
    ids=["inside reentrant checkpointing", "without gradients"],
)
def test_logits_without_a_graph_are_recorded_with_a_warning(tmp_path, run):
    with pytest.warns(RuntimeWarning, match=r"carry no graph, .*use_reentrant=False keeps"):
        observe(tmp_path, run)
    assert len(read(tmp_path / "run")["step"]) == 10
    assert np.isnan(read(tmp_path / "run")["residual"]).all()


def test_recording_a_validation_pass_warns_of_nothing(tmp_path):
    with torch.no_grad():
        observe(tmp_path, lambda model, x: model(x))
    assert len(read(tmp_path / "run")["step"]) == 10


def test_layers_behind_reentrant_checkpointing_are_an_error_that_helps(tmp_path):
    with pytest.raises(RuntimeError, match=r"that is reentrant \(use_reentrant=False"):
        train(tmp_path / "run", lambda m, x: checkpoint(m, x, use_reentrant=True), keep=Layers("0"))


@pytest.mark.parametrize("loss", [KD(), SDD(KD(), scales=(1, 2))], ids=["logits", "regions"])
def test_channels_last_is_recorded_as_any_other_layout(tmp_path, loss):
    found, images = {}, torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        student, teacher = build_model("resnet8", 6), build_model("resnet8", 6).eval()
        sides = {"student": student, "teacher": teacher}
        options = {"keep": Layers("fc", "layer1"), "store": Store("float32")}
        with Recorder(tmp_path / str(layout), loss, **sides, **options) as recorder:
            for side in sides.values():
                side.to(memory_format=layout)(images.to(memory_format=layout))
            recorder.loss(torch.arange(4)).backward()
        found[layout] = read(tmp_path / str(layout))
        assert found[layout]["residual"].max() < 1e-4
    for name in ("student_logits", "teacher_logits"):
        np.testing.assert_allclose(*(rows[name] for rows in found.values()), atol=1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_frozen_teacher_is_recorded_however_it_is_kept_from_learning(tmp_path, mode):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    before = [p.clone() for p in training.teacher.state_dict().values()]
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
        for x, y, index in batches(3):
            with mode():
                training.teacher(x)
            training.student(x)
            training.update(recorder.loss(y, sample_id=index))
    assert read(tmp_path / "run")["residual"].max() < 1e-5
    after = training.teacher.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (network(1), "'1'"),
        (network(1, dropout=0.5), "'1' and 1 more modules"),
        (nn.Sequential(nn.Linear(8, 6), nn.Dropout(0.1)), "'1'"),
    ],
)
def test_a_teacher_left_in_train_mode_is_warned_about_once_by_name(tmp_path, teacher, said):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        listen(tmp_path / "run", teacher)
    (message,) = (str(warning.message) for warning in caught)
    assert message.startswith(f"the teacher is in train mode: {said} normalise by the batch")


def test_a_teacher_that_normalises_by_the_sample_may_stay_in_train_mode(tmp_path):
    listen(tmp_path / "run", nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.Dropout(0.0)))


def listen(path, teacher) -> None:
    """Five steps, of which three are captured."""
    options = {"schedule": every(2), "teacher": teacher}
    with Recorder(path, LOSS, **options) as recorder, torch.no_grad():
        for x, y, _ in batches(5):
            teacher(x)
            recorder.observe(y, student=network(0)(x))


def overwrite(tmp_path, side: str, computes: bool, **options) -> dict[str, np.ndarray]:
    """One step in which one side's logits are overwritten in place after the forward pass."""
    training, (x, y, _) = Training(), next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"store": Store("float32")} | options
    with Recorder(tmp_path / "run", LOSS, **sides, **options) as recorder:
        given = dict(zip(sides, training.forward(x), strict=True))
        before = {name: logits.detach().clone() for name, logits in given.items()}
        given[side].mul_(2.0)
        value = recorder.loss(y) if computes else recorder.observe(y)
        training.update(given["student"].square().sum() if value is None else value)
    found = read(tmp_path / "run")
    for name, logits in before.items():
        np.testing.assert_array_equal(found[f"{name}_logits"], logits.numpy())
    return found


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_logits_overwritten_before_a_loss_of_ones_own_are_stored_as_given(tmp_path, side):
    found = overwrite(tmp_path, side, computes=False)
    assert np.isnan(found["residual"]).all() == (side == "student")  # what is sent is not to them


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_loss_on_logits_that_were_overwritten_is_refused(tmp_path, side):
    with pytest.raises(RuntimeError, match=f"the {side}'s logits were overwritten in place after"):
        overwrite(tmp_path, side, computes=True)


def test_layers_of_logits_that_were_overwritten_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match="the student's logits were overwritten in place"):
        overwrite(tmp_path, "student", computes=False, keep=Layers("0"))
    again = {"keep": Layers("0"), "store": Store("float32", existing="overwrite")}
    overwrite(tmp_path, "teacher", computes=False, **again)


def test_logits_made_in_place_are_recorded_as_any_others(tmp_path):
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network(0)

        def forward(self, x):
            return self.body(x).mul_(2.0).add_(1.0)

    student = InPlace()
    train(tmp_path / "run", lambda _, x: student(x), student=student)
    assert read(tmp_path / "run")["sample_id"].tolist() == list(range(30))
    assert read(tmp_path / "run")["residual"].max() < 1e-5


def test_training_by_autograd_grad_is_recorded_without_a_residual(tmp_path):
    training = Training()
    sides, parameters = {"student": training.student}, list(training.student.parameters())
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
        for x, y, index in batches(3):
            _, teacher = training.forward(x)
            loss = recorder.loss(y, sample_id=index, teacher=teacher)
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.grad = gradient
            training.optimizer.step()
    assert read(tmp_path / "run")["sample_id"].tolist() == list(range(30))
    assert np.isnan(read(tmp_path / "run")["residual"]).all()


@pytest.mark.parametrize("calls", [True, False], ids=["none scheduled", "never called"])
def test_a_training_of_which_nothing_was_recorded_is_warned_about(tmp_path, calls):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    recorder = Recorder(tmp_path / "run", LOSS, schedule=at([100]), **sides)
    for x, y, _ in batches(2):
        training.forward(x)
        if calls:
            recorder.observe(y)
    with pytest.warns(RuntimeWarning, match="nothing of this training was recorded into"):
        recorder.close()


def several(path, backward, steps=2) -> np.ndarray:
    """The residuals of a training in which ``backward(terms)`` runs the backward passes."""
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(path, LOSS, schedule=every(1), **sides) as recorder:
        for x, y, _ in batches(steps):
            student, teacher = training.forward(x)
            recorder.observe(y)
            backward([values.mean() for values in LOSS(student, teacher, y).values()])
    return read(path)["residual"]


@pytest.mark.parametrize("times", [2, 3])
def test_one_loss_that_goes_backward_several_times_is_said(tmp_path, times):
    def backward(terms) -> None:
        for _ in range(times):
            sum(terms).backward(retain_graph=True)

    evidence = rf"one loss went backward {times} times .* got {times} times the gradient"
    with pytest.warns(RuntimeWarning, match=evidence):
        found = several(tmp_path / "run", backward)
    np.testing.assert_allclose(found, 1 - 1 / times, atol=1e-4)


def test_a_loss_that_goes_backward_in_parts_is_as_good_as_its_sum(tmp_path):
    def backward(terms) -> None:
        for term in terms:
            term.backward(retain_graph=True)

    assert several(tmp_path / "run", backward).max() < 1e-5


def test_another_loss_beside_it_is_left_to_the_residual(tmp_path):
    def backward(terms) -> None:
        sum(terms).backward(retain_graph=True)
        terms[0].backward()

    assert several(tmp_path / "run", backward).min() > 1e-3
