"""The recorder stores what the models gave, computes the loss, and checks the gradient sent."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from toy import Training, batches, network

from kdanalysis import (
    DKD,
    GDKD,
    KD,
    CrossEntropy,
    Layers,
    Recorder,
    Regions,
    Scaling,
    Side,
    SparseTeacher,
    Store,
    Sum,
    TopK,
    at,
    every,
    open_run,
)
from kdanalysis.capture.options import sort_kept
from kdanalysis.capture.samples import check_batch

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))
COLUMNS = ("step", "epoch", "sample_id", "target", "teacher_logits", "student_logits", "residual")


def read(path) -> dict[str, np.ndarray]:
    (rows,) = open_run(path).batches(COLUMNS, 100_000)
    return rows


def record(path, mine=None, loss=LOSS, steps=4, **options):
    """Train with the recorder; ``mine`` makes the loss when the recorder only observes."""
    training, seen = Training(), []
    options = {"schedule": every(1), "store": Store("float32")} | options
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(path, loss, **sides, **options) as recorder:
        for x, y, index in batches(steps):
            recorder.epoch = recorder.step // 2
            student, teacher = training.forward(x)
            seen.append((student.detach().clone(), teacher, y, index))
            if mine is None:
                value = recorder.loss(y, sample_id=index)
            else:
                value = mine(student, teacher, y)
                recorder.observe(y, sample_id=index)
            training.update(value)
    return seen


def mean_sum(loss):
    return lambda *problem: sum(loss(*problem).values()).mean()


@pytest.mark.parametrize("mine", [None, mean_sum(LOSS)], ids=["computes", "observes"])
def test_what_the_models_gave_is_stored(tmp_path, mine):
    seen = record(tmp_path / "run", mine)
    rows = read(tmp_path / "run")
    for name, place in (("student_logits", 0), ("teacher_logits", 1), ("target", 2)):
        np.testing.assert_array_equal(rows[name], torch.cat([s[place] for s in seen]).numpy())
    assert rows["sample_id"].tolist() == list(range(40))
    assert rows["step"].tolist() == np.repeat(range(4), 10).tolist()
    assert rows["epoch"].tolist() == np.repeat([0, 0, 1, 1], 10).tolist()
    assert np.nanmax(rows["residual"]) < 1e-5
    assert not np.isnan(rows["residual"]).any()


def test_the_loss_is_the_mean_of_the_sum_of_the_terms(tmp_path):
    training = Training()
    x, y, _ = next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, **sides) as recorder:
        student, teacher = training.forward(x)
        value = recorder.loss(y, ramp=0.25)
    torch.testing.assert_close(value, sum(LOSS(student, teacher, y, 0.25).values()).mean())


@pytest.mark.parametrize(
    "mine",
    [
        mean_sum(Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 1)))),
        mean_sum(GDKD(k=2, weights=(1, 2, 8))),
        lambda s, t, y: mean_sum(LOSS)(s, t, y) + 2.0 * KD()(s, t, y)["kd"].mean(),
        lambda s, t, y: sum(LOSS(s, t, y).values()).sum(),
    ],
    ids=["forgotten weight", "forgotten term", "foreign term", "sum instead of mean"],
)
def test_a_loss_that_is_not_what_it_seems_shows_as_a_residual(tmp_path, mine):
    record(tmp_path / "run", mine)
    assert np.median(read(tmp_path / "run")["residual"]) > 0.05


def test_only_scheduled_steps_are_stored_and_the_default_is_every_fiftieth(tmp_path):
    record(tmp_path / "some", schedule=at([1, 3]))
    assert open_run(tmp_path / "some").steps().tolist() == [1, 3]
    record(tmp_path / "default", schedule=None, steps=51)
    assert open_run(tmp_path / "default").steps().tolist() == [0, 50]


def test_rows_are_sampled_by_seed_and_step_with_their_gradients(tmp_path):
    seen = record(tmp_path / "run", max_rows=3)
    rows = read(tmp_path / "run")
    assert len(rows["step"]) == 12
    assert rows["residual"].max() < 1e-5
    every_row = torch.cat([s[0] for s in seen]).numpy()
    np.testing.assert_array_equal(rows["student_logits"], every_row[rows["sample_id"]])
    chosen = (rows["sample_id"] % 10).reshape(4, 3).tolist()
    assert len(set(map(tuple, chosen))) > 1  # other rows at other steps
    record(tmp_path / "again", max_rows=3)
    assert (read(tmp_path / "again")["sample_id"] == rows["sample_id"]).all()
    record(tmp_path / "other", max_rows=3, seed=1)
    assert (read(tmp_path / "other")["sample_id"] != rows["sample_id"]).any()


def test_autograd_grad_does_not_pass_for_training(tmp_path):
    def mine(student, teacher, target):
        terms = LOSS(student, teacher, target)
        for value in terms.values():  # a user's own per-term gradients, before and after
            torch.autograd.grad(value.sum(), student, retain_graph=True)
        return sum(terms.values()).mean()

    record(tmp_path / "run", mine)
    assert read(tmp_path / "run")["residual"].max() < 1e-5


def test_a_backward_pass_beside_the_logits_confirms_nothing(tmp_path):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
        for x, y, _ in batches(2):
            student, _ = training.forward(x)
            loss = recorder.loss(y)
            torch.autograd.grad(loss, student, retain_graph=True)
            (1e-3 * sum(p.square().sum() for p in training.student.parameters())).backward()
            training.update(loss)
    assert read(tmp_path / "run")["residual"].max() < 1e-5


def test_losses_divided_for_accumulation_are_what_they_seem(tmp_path):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": every(1), "scaling": Scaling(accumulate=4), **sides}
    with Recorder(tmp_path / "run", LOSS, **options) as recorder:
        for x, y, _ in batches(4):
            training.forward(x)
            (recorder.loss(y) / 4).backward()
    assert read(tmp_path / "run")["residual"].max() < 1e-5


def test_gradients_of_two_backward_passes_add_up(tmp_path):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
        for x, y, _ in batches(2):
            terms = LOSS(*training.forward(x), y)
            recorder.observe(y)
            terms["ce"].mean().backward(retain_graph=True)
            training.update(sum(v for k, v in terms.items() if k != "ce").mean())
    assert read(tmp_path / "run")["residual"].max() < 1e-5


def test_a_gradscalers_factor_is_divided_out(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)  # 1024, 2048, ...
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": every(1), "scaling": Scaling(scaler)}
    with Recorder(tmp_path / "run", LOSS, **sides, **options) as recorder:
        for x, y, _ in batches(3):
            with torch.autocast("cpu", torch.bfloat16):
                training.forward(x)
                loss = recorder.loss(y)
            scaler.scale(loss).backward()
            scaler.step(training.optimizer)
            scaler.update()
            training.optimizer.zero_grad()
    rows = read(tmp_path / "run")
    assert rows["student_logits"].dtype == np.float16
    assert rows["residual"].max() < 2e-2  # bfloat16 gradients carry 8 bits


def test_bfloat16_logits_are_stored_bit_for_bit(tmp_path):
    logits = torch.randn(5, 6).bfloat16()
    with Recorder(tmp_path / "run", schedule=every(1), store=Store("same")) as recorder:
        recorder.observe(torch.zeros(5, dtype=torch.long), student=logits, teacher=logits)
    np.testing.assert_array_equal(read(tmp_path / "run")["student_logits"], logits.float().numpy())


def test_activation_checkpointing_gives_one_record_a_sample(tmp_path):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
        for x, y, index in batches(3):
            training.teacher(x)
            checkpoint(training.student, x, use_reentrant=False)
            loss = recorder.loss(y, sample_id=index)
            with set_checkpoint_early_stop(False):  # so that the whole forward pass runs again
                training.update(loss)
            with pytest.raises(RuntimeError, match="no forward pass of the student"):
                recorder._taps.take("student", None)  # the second pass left nothing
    assert len(read(tmp_path / "run")["step"]) == 30
    assert open_run(tmp_path / "run").duplicates == 0


def test_logits_overwritten_in_place_are_stored_as_the_model_gave_them(tmp_path):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    x, y, _ = next(batches(1))
    with Recorder(tmp_path / "run", **sides, schedule=every(1), store=Store("float32")) as recorder:
        student, _ = training.forward(x)
        before = student.detach().clone()
        student.data.zero_()  # as fused losses do
        recorder.observe(y)
    np.testing.assert_array_equal(read(tmp_path / "run")["student_logits"], before.numpy())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.0, 1e-40])
def test_watching_stores_unusual_numbers_bit_for_bit(tmp_path, bad):
    student, teacher = torch.randn(2, 5, 6)
    teacher[2, 1] = bad
    y = torch.zeros(5, dtype=torch.long)
    with Recorder(tmp_path / "run", KD(), schedule=every(1), store=Store("float32")) as recorder:
        recorder.observe(y, student=student, teacher=teacher)
    stored = read(tmp_path / "run")["teacher_logits"]
    assert stored.tobytes() == teacher.numpy().tobytes()


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_row_with_nan_has_no_residual_and_the_others_have(tmp_path, side):
    sides = dict(zip(("student", "teacher"), torch.randn(2, 5, 6), strict=True))
    y = torch.zeros(5, dtype=torch.long)
    with Recorder(tmp_path / "run", KD(), schedule=every(1), store=Store("float32")) as recorder:
        shown = {name: logits.clone() for name, logits in sides.items()}
        shown[side][2, 1] = float("nan")
        shown["student"].requires_grad_()
        recorder.observe(y, **shown)
        sent = sum(KD().gradients(sides["student"], sides["teacher"], y).values()) / 5
        shown["student"].backward(sent)
    residual = read(tmp_path / "run")["residual"]
    assert np.isnan(residual).tolist() == [False, False, True, False, False]
    assert np.nanmax(residual) < 1e-5


def test_a_computed_loss_refuses_nan_and_names_the_sample(tmp_path):
    student, teacher = torch.randn(2, 5, 6)
    teacher[2, 1] = float("nan")
    with (
        Recorder(tmp_path / "run", KD(), schedule=every(1), store=Store("float32")) as recorder,
        pytest.raises(ValueError, match="teacher logits of sample 2 hold nan at class 1"),
    ):
        recorder.loss(torch.zeros(5, dtype=torch.long), student=student, teacher=teacher)
    assert not (tmp_path / "run").exists()


def boom(captured):
    raise RuntimeError("boom")


@pytest.mark.parametrize("keep", [(), TopK(2)], ids=["dense", "top"])
@pytest.mark.parametrize(
    ("what", "options", "says"),
    [
        ({"student": torch.full((5, 6), 1e6)}, {}, "student_logits reach 1e.06, beyond 65504"),
        ({}, {"listener": boom}, "boom"),
    ],
    ids=lambda x: ",".join(x) if isinstance(x, dict) else None,
)
def test_nothing_is_left_of_a_first_step_that_fails(tmp_path, keep, what, options, says):
    sides = dict(zip(("student", "teacher"), torch.randn(2, 5, 6), strict=True))
    recorder = Recorder(tmp_path / "run", KD(1.0), keep=keep, schedule=every(1), **options)
    recorder.observe(torch.zeros(5, dtype=torch.long), **(sides | what))
    with pytest.raises((ValueError, RuntimeError), match=says):
        recorder.close()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"store": Store(classes=["one"])}, "got 1 class names for 6 classes"),
        ({"keep": TopK(2), "store": Store(classes=["one"])}, "got 1 class names for 6 classes"),
        ({"keep": TopK(64)}, r"TopK\(64\) of 6 classes: .* the others K must be from 1 to 3"),
    ],
)
def test_classes_that_do_not_serve_are_refused_at_the_first_step(tmp_path, options, says):
    sides = dict(zip(("student", "teacher"), torch.randn(2, 5, 6), strict=True))
    with (
        Recorder(tmp_path / "run", KD(1.0), schedule=every(1), **options) as recorder,
        pytest.raises(ValueError, match=says),
    ):
        recorder.observe(torch.zeros(5, dtype=torch.long), **sides)
    assert not (tmp_path / "run").exists()


def twice(path, steps, ids):
    y = torch.zeros(5, dtype=torch.long)
    with Recorder(path, KD(), schedule=every(1)) as recorder:
        for step, sample_id in zip(steps, ids, strict=True):
            recorder.step = step
            sides = dict(zip(("student", "teacher"), torch.randn(2, 5, 6), strict=True))
            recorder.observe(y, torch.tensor(sample_id), **sides)
    return open_run(path)


def test_a_step_that_stays_the_same_is_warned_of_once_with_its_evidence(tmp_path):
    ids = [range(5), range(3, 8), range(3, 8)]
    told = r"step 7 was captured before with 2 of these 5 samples, .* let recorder.step grow"
    with pytest.warns(RuntimeWarning, match=told) as seen:
        run = twice(tmp_path / "run", [7, 7, 7], [list(one) for one in ids])
    assert len(seen) == 1
    assert run.duplicates == 7


def test_parts_of_a_step_and_steps_that_grow_are_not_warned_of(tmp_path):
    twice(tmp_path / "parts", [7, 7], [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    twice(tmp_path / "steps", [7, 8], [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]])


def test_the_run_says_what_it_is(tmp_path):
    loss, store = DKD(temperature=2.0), Store(classes=list("abcdef"), settings={"lr": 0.1})
    record(tmp_path / "run", loss=loss, store=store, seed=3)
    info = open_run(tmp_path / "run").info
    assert (info.loss, info.terms, info.temperature) == (repr(loss), ("tckd", "nckd"), 2.0)
    assert info.weights == {"tckd": 1.0, "nckd": 8.0}
    assert (info.classes, info.settings, info.seed) == (list("abcdef"), {"lr": 0.1}, 3)


def test_bad_use_is_answered_in_one_sentence(tmp_path):
    y = torch.zeros(5, dtype=torch.long)
    student, teacher = torch.randn(2, 5, 6)
    with Recorder(tmp_path / "run") as recorder:
        with pytest.raises(RuntimeError, match="has no student: pass the model or its logits"):
            recorder.observe(y, teacher=teacher)
        with pytest.raises(RuntimeError, match="was given no loss"):
            recorder.loss(y, student=student, teacher=teacher)
    with pytest.raises(RuntimeError, match="is closed"):
        recorder.observe(y, student=student, teacher=teacher)


def test_a_truncated_teacher_is_refused_with_what_looks_at_it():
    student, teacher = torch.randn(2, 5, 6)
    known = SparseTeacher.from_logits(teacher, k=2)
    says = r"SparseTeacher\(5 rows.* needs the logits of all classes.*truncation TOKENS --student"
    with pytest.raises(ValueError, match=says):
        check_batch(student, known, torch.zeros(5, dtype=torch.long), None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_rows": 0}, "max_rows must be at least 1, got 0"),
        (
            {"keep": (Layers("0"), Layers("4"))},
            "keep takes Layers, Regions and TopK, at most one of each",
        ),
        ({"keep": (Regions(), Regions((1, 2)))}, "at most one of each, alone or in a tuple; got"),
        (
            {"student": Side("model")},
            "student must be a torch Module that is called, got 'model'",
        ),
        (
            {"teacher": [nn.Identity()] * 2},
            r"teacher must be a torch Module or a kdanalysis Side or None, got \[Identity\(\), Id",
        ),
        (
            {"teacher": nn.ModuleList([nn.Identity()])},
            "got a ModuleList .* Several teachers are one",
        ),
        (
            {"teacher": torch.relu},
            "got a builtin_function.* leave it out and give them in every",
        ),
        (
            {"teacher": Path("best.pt")},
            r"teacher must be a torch Module .* got a PosixPath .*best\.pt",
        ),
    ],
)
def test_arguments_are_checked_before_any_step(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        Recorder(tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Scaling, {"accumulate": 0}, "accumulate must be at least 1, got 0"),
        (Store, {"full": "wait"}, "full is one of .* got 'wait'"),
        (Store, {"on_error": "ignore"}, "on_error is one of .* got 'ignore'"),
        (Store, {"existing": "append"}, "existing is one of .* got 'append'"),
        (Store, {"dtype": "int8"}, "dtype is one of .* got 'int8'"),
        (Store, {"dtype": torch.bfloat16}, "got a dtype torch.bfloat16, one of float16, float32"),
        (Store, {"settings": {"a": float("nan")}}, "settings must be plain JSON values"),
        (Regions, {"scales": (2, 4)}, r"scales must rise from 1, the whole image, got \(2, 4\)"),
        (Regions, {"rows": 0}, "rows must be at least 1, got 0"),
        (Layers, {}, "need at least one layer by its name, got none"),
    ],
)
def test_each_of_a_recorders_arguments_checks_itself(kind, given, message):
    with pytest.raises(ValueError, match=message):
        kind(**given)


def test_what_is_kept_is_sorted_by_kind():
    layers, regions, top = Layers("fc"), Regions((1, 2)), TopK(3)
    nothing = {"layers": None, "regions": None, "top": None}
    for keep in ((layers, regions), [regions, layers]):
        assert sort_kept(keep) == nothing | {"layers": layers, "regions": regions}
    assert sort_kept(()) == nothing
    assert sort_kept(layers) == nothing | {"layers": layers}
    assert sort_kept(top) == nothing | {"top": top}
    for other in ("fc", ("fc", layers), None, Layers):
        with pytest.raises(ValueError, match="keep takes Layers, Regions and TopK"):
            sort_kept(other)


def observe(recorder, seed=0, ids=None):
    student, teacher = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(seed))
    y = torch.zeros(5, dtype=torch.long)
    recorder.observe(y, sample_id=ids, student=student, teacher=teacher)


def test_a_resumed_run_goes_on_after_its_last_step(tmp_path):
    for start in (0, 3, 6):
        options = {"schedule": every(1), "store": Store(existing="resume")}
        with Recorder(tmp_path / "run", **options) as recorder:
            assert recorder.step == start
            for step in range(3):
                observe(recorder, step)
    assert open_run(tmp_path / "run").steps().tolist() == list(range(9))


def test_ranks_do_not_share_default_sample_ids(tmp_path, monkeypatch):
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with Recorder(tmp_path / "run", schedule=every(1)) as recorder:
            observe(recorder)
    run = open_run(tmp_path / "run")
    assert (run.num_rows, run.duplicates) == (10, 0)


def test_sample_ids_that_come_twice_are_warned_about(tmp_path):
    with (
        Recorder(tmp_path / "run", schedule=every(1)) as recorder,
        pytest.warns(RuntimeWarning, match="sample ids come twice in a batch"),
    ):
        observe(recorder, ids=torch.tensor([1, 1, 1, 2, 3]))


@pytest.mark.parametrize(
    ("loss", "y", "words"),
    [
        (KD(), 7, "target of sample 2 is 7, need an index from 0 to 5 .-1 for none.; leave"),
        (DKD(), -100, "target of sample 2 is -100, .* to 5: DKD needs its label; leave"),
    ],
)
def test_a_target_that_is_no_class_is_refused_before_it_is_stored(tmp_path, loss, y, words):
    student, teacher = torch.randn(2, 5, 6)
    with (
        Recorder(tmp_path / "run", loss, schedule=every(1)) as recorder,
        pytest.raises(ValueError, match=words),
    ):
        recorder.observe(torch.tensor([0, 1, y, 2, 3]), student=student, teacher=teacher)
    assert not (tmp_path / "run").exists()


def test_labels_of_a_batch_that_count_from_1_are_told_so(tmp_path):
    student, teacher = torch.randn(2, 5, 6)
    y = torch.tensor([2, 6, 3, 5, 2])  # of a batch, which need not hold every class
    with (
        Recorder(tmp_path / "run", KD(), schedule=every(1)) as recorder,
        pytest.raises(ValueError, match=r"is 6, .* seem to count from 1: lower them by 1$"),
    ):
        recorder.observe(y, student=student, teacher=teacher)
    with pytest.raises(ValueError, match="to 5; these labels seem to count from 1: lower them"):
        DKD()(student, teacher, y)


@pytest.mark.parametrize("loss", [None, KD(), GDKD(k=2)])
@pytest.mark.parametrize("y", [-1, -100, 255])
def test_a_row_without_a_label_is_recorded_where_the_loss_needs_none(tmp_path, loss, y):
    student, teacher = torch.randn(2, 5, 6)
    with Recorder(tmp_path / "run", loss, schedule=every(1)) as recorder:
        recorder.observe(torch.tensor([0, 1, y, 2, 3]), student=student, teacher=teacher)
    run = open_run(tmp_path / "run")
    (batch,) = run.batches(("target",))
    assert batch["target"].tolist() == [0, 1, -1, 2, 3]
    table = run.table("agreement").set_index("step")
    assert table.n.tolist() == [5]


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_probabilities_are_refused_in_the_first_captured_step(tmp_path, side):
    given = {"student": torch.randn(5, 6), "teacher": torch.randn(5, 6)}
    with Recorder(tmp_path / "run", KD(), schedule=every(1)) as recorder:
        with pytest.raises(ValueError, match=f"the {side}'s outputs are probabilities: 5 rows"):
            recorder.observe(torch.arange(5), **given | {side: given[side].softmax(-1)})
        recorder.observe(torch.arange(5), **given)
    assert open_run(tmp_path / "run").num_rows == 5


def test_what_was_flushed_survives_the_end_of_the_process(tmp_path):
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import torch
from kdanalysis import Recorder, every
recorder = Recorder({str(tmp_path / "run")!r}, schedule=every(1))
for step in range(4):
    if step == 3:
        recorder.flush()
    logits = torch.full((2, 3), float(step))
    recorder.observe(torch.tensor([0, 1]), student=logits, teacher=logits)
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert open_run(tmp_path / "run").steps().tolist() == [0, 1, 2]


def test_a_disk_that_fails_lets_the_training_go_on_where_asked(tmp_path):
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / "run"
    with Recorder(path, schedule=every(1), store=Store(on_error="warn")) as recorder:
        observe(recorder)
        with pytest.warns(RuntimeWarning, match="nothing more is recorded into .* goes on"):
            observe(recorder)
        observe(recorder)  # and no second warning


def test_batches_that_do_not_fit_together_are_refused():
    y = torch.zeros(5, dtype=torch.long)
    student, teacher = torch.randn(2, 5, 6)
    with pytest.raises(ValueError, match=r"student gives .* \(5, 6\), the teacher of \(5, 4\)"):
        check_batch(student, teacher[:, :4], y, None)
    with pytest.raises(ValueError, match=r"sample_id has shape \(3,\), need one entry"):
        check_batch(student, teacher, y, y[:3])


def test_student_and_teacher_of_other_classes_are_refused(tmp_path):
    sides = {"student": network(0), "teacher": network(1, classes=4).eval()}
    with Recorder(tmp_path / "run", KD(), **sides) as recorder:
        for model in sides.values():
            model(torch.randn(5, 8))
        with pytest.raises(ValueError, match="both need the same samples and the same classes"):
            recorder.loss(torch.zeros(5, dtype=torch.long))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_refused_before_any_step(tmp_path):
    record(tmp_path / "run")
    model = network(0)
    with pytest.raises(FileExistsError, match="already holds a run"):
        Recorder(tmp_path / "run", student=model)
    assert not model._forward_hooks
    record(tmp_path / "run", store=Store("float32", existing="overwrite"), steps=1)
    assert open_run(tmp_path / "run").steps().tolist() == [0]
