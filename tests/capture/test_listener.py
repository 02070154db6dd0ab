"""What a listener hears of captured steps, when, and how a step is ended by hand."""

import pytest
import torch
from toy import Training, batches

from kdanalysis import (
    GDKD,
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
from kdanalysis.capture.options import place

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))


def sides(training: Training) -> dict[str, torch.nn.Module]:
    return {"student": training.student, "teacher": training.teacher}


def train(path, heard: list, steps: int = 4, **options) -> list:
    training, seen = Training(), []
    options = {"schedule": every(2), "listener": heard.append} | sides(training) | options
    with Recorder(path, LOSS, **options) as recorder:
        for x, y, _ in batches(steps):
            student, teacher = training.forward(x)
            seen.append((student.detach().clone(), teacher, y))
            training.update(recorder.loss(y, ramp=0.5))
    return seen


def test_norms_are_those_of_autograds_gradients_of_every_term(tmp_path):
    heard = []
    seen = train(tmp_path / "run", heard)
    assert [captured.step for captured in heard] == [0, 2]
    for captured in heard:
        student, teacher, target = seen[captured.step]
        student = student.double().requires_grad_()
        terms = LOSS(student, teacher.double(), target, 0.5)
        assert list(captured.norms) == list(terms)
        for name, value in terms.items():
            (gradient,) = torch.autograd.grad(value.sum(), student, retain_graph=True)
            torch.testing.assert_close(captured.norms[name], gradient.norm(dim=-1))
        assert captured.residual.max() < 1e-5


def test_a_row_that_is_not_finite_has_no_norm_and_the_others_keep_theirs(tmp_path):
    heard, logits = [], torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(3, dtype=torch.long)
    broken = logits.clone()
    broken[1, 2] = torch.nan
    for name, student in (("whole", logits), ("broken", broken)):
        with Recorder(
            tmp_path / name, LOSS, store=Store("float32"), listener=heard.append
        ) as recorder:
            recorder.observe(target, student=student, teacher=logits.flip(0))
    whole, partly = (captured.norms["high"] for captured in heard)
    assert partly.isnan().tolist() == [False, True, False]
    assert torch.equal(partly[[0, 2]], whole[[0, 2]])
    assert heard[0].residual.isnan().all()  # nothing was sent


def test_a_batch_without_samples_leaves_nothing_and_the_run_goes_on(tmp_path):
    heard, training = [], Training()
    options = {"schedule": every(1), "listener": heard.append, "keep": Layers("logits", "0")}
    with Recorder(tmp_path / "run", LOSS, **sides(training), **options) as recorder:
        for step, (x, y, _) in enumerate(batches(3)):
            kept = slice(0 if step == 1 else None)
            student, _ = training.forward(x[kept])
            recorder.observe(y[kept])
            student.sum().backward()
    run = open_run(tmp_path / "run")
    assert [captured.step for captured in heard] == [0, 2]
    for noun in ("magnitude", "layers", "snr"):
        assert run.table(noun).step.unique().tolist() == [0, 2]


def test_without_a_loss_there_are_no_norms(tmp_path):
    heard, logits = [], torch.zeros(2, 3)
    with Recorder(tmp_path / "run", listener=heard.append) as recorder:
        recorder.observe(torch.tensor([0, 1]), student=logits, teacher=logits)
    assert heard[0].norms == {}
    assert heard[0].residual.isnan().all()


def test_a_listener_hears_of_steps_that_a_broken_disk_lost(tmp_path):
    (tmp_path / "file").write_text("")
    heard = []
    with pytest.warns(RuntimeWarning, match="nothing more is recorded"):
        train(tmp_path / "file" / "run", heard, store=Store(on_error="warn"))
    assert len(heard) == 2


def test_ending_a_step_finishes_its_record_at_once(tmp_path):
    training, heard = Training(), []
    with Recorder(tmp_path / "run", LOSS, listener=heard.append, **sides(training)) as recorder:
        x, y, _ = next(batches(1))
        training.forward(x)
        training.update(recorder.loss(y))
        assert heard == []  # the control: the step could still be going on
        recorder.end_step()
        assert heard[0].residual.max() < 1e-5


def test_a_batch_left_out_is_forgotten_when_its_step_is_ended(tmp_path):
    training = Training()
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides(training)) as recorder:
        (x, y, _), (left_out, _, _) = batches(2)
        training.forward(left_out)
        recorder.end_step()
        training.forward(x)
        training.update(recorder.loss(y))
        training.forward(left_out)
        training.forward(x)
        with pytest.raises(RuntimeError, match="ran 2 training passes"):  # the control
            recorder.loss(y)


def test_without_a_hook_on_the_student_its_layers_are_found_and_logits_given(tmp_path):
    training = Training()
    options = {"keep": Layers("4"), "schedule": at([0]), "teacher": training.teacher}
    student = Side(training.student, layer=None)
    with Recorder(tmp_path / "run", LOSS, student=student, **options) as recorder:
        x, y, _ = next(batches(1))
        student, _ = training.forward(x)
        training.update(recorder.loss(y, student=2 * student))
        training.forward(x)
        with pytest.raises(RuntimeError, match="has no student: pass the model or its logits"):
            recorder.loss(y)
    assert len(open_run(tmp_path / "run").table("layers")) > 0


def test_the_rank_is_that_of_the_running_group_before_the_launchers_variables(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert place() == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert place() == (2, 4)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        assert place() == (0, 1)
    finally:
        torch.distributed.destroy_process_group()
