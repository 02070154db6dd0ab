"""Gradients at the layers are those of real backward passes, and the training never notices."""

import copy
import gc
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint
from toy import Training, batches, network

from kdanalysis import (
    DKD,
    GDKD,
    CrossEntropy,
    Layers,
    Recorder,
    Scaling,
    Side,
    Store,
    Sum,
    every,
    open_run,
)

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))
LAYERS = ("0", "1.weight", "4")
ALL = Layers(*LAYERS)
KEYS = ["step", "epoch", "layer", "term_a", "term_b"]


def read(path) -> pd.DataFrame:
    frames = [pd.DataFrame(batch) for batch in open_run(path).batches(batch_size=7, kind="layers")]
    return pd.concat(frames, ignore_index=True)


def record(path, keep=ALL, steps=3, training=None, ramp=0.5, **options):
    """Train under a recorder; before each step, what backward passes of a copy would give."""
    training, expected = training or Training(), []
    options = {"schedule": every(2), "loss": LOSS} | options
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(path, keep=keep, **sides, **options) as recorder:
        for x, y, _ in batches(steps):
            recorder.epoch = 5 + recorder.step // 2
            if recorder.step % 2 == 0:
                expected += reference(training, x, y, ramp, recorder.step, recorder.epoch)
            training.forward(x)
            training.update(recorder.loss(y, ramp=ramp))
    return expected


def reference(training, x, y, ramp, step, epoch) -> list[tuple]:
    """Rows of the layers table by one ``backward()`` a term on a copy of the student."""
    twin, gradients = copy.deepcopy(training.student), {}
    named = dict(twin.named_parameters())
    for term in LOSS.terms:
        twin.zero_grad()
        values = LOSS(twin(x), training.teacher(x).detach(), y, ramp)
        values[term].mean().backward()
        gradients[term] = {name: p.grad.double().flatten() for name, p in named.items()}
    rows = []
    for layer, names in {"0": ("0.weight", "0.bias"), "1.weight": ("1.weight",),
                         "4": ("4.weight", "4.bias")}.items():  # fmt: skip
        for a in LOSS.terms:
            for b in LOSS.terms:
                dot = sum(float(gradients[a][n] @ gradients[b][n]) for n in names)
                rows.append((step, epoch, layer, a, b, dot))
    return rows


def test_rows_are_the_dot_products_of_backward_passes(tmp_path):
    expected = pd.DataFrame(record(tmp_path / "run"), columns=[*KEYS, "dot"])
    found = read(tmp_path / "run")
    pd.testing.assert_frame_equal(found[KEYS], expected[KEYS], check_dtype=False)
    scale = np.abs(expected["dot"]).max()
    np.testing.assert_allclose(found["dot"], expected["dot"], rtol=1e-4, atol=1e-6 * scale)
    assert (found["count"] == 10).all()
    assert (found["rank"] == 0).all()


def test_of_several_batches_of_a_step_the_first_gives_the_layers_of_that_step(tmp_path):
    """As of those that a Trainer accumulates: dot product, covariance and count of one batch."""
    for name, sizes in (("several", (10, 6)), ("first", (10,))):
        training = Training()
        sides = {"student": training.student, "teacher": training.teacher}
        with Recorder(tmp_path / name, LOSS, keep=ALL, **sides) as recorder:
            for size, (x, y, _) in zip(sizes, batches(2), strict=False):
                recorder.step = 0
                training.forward(x[:size])
                ids = torch.arange(size) + 100 * size
                recorder.loss(y[:size], sample_id=ids).backward()
    pd.testing.assert_frame_equal(read(tmp_path / "several"), read(tmp_path / "first"))
    (rows,) = open_run(tmp_path / "several").batches(["step"], 100)
    assert len(rows["step"]) == 16  # the control: the logits of both are kept


def test_beside_the_layers_the_residual_is_as_small_as_ever(tmp_path):
    record(tmp_path / "run")
    (rows,) = open_run(tmp_path / "run").batches(["residual"], 100)
    assert len(rows["residual"]) == 20
    assert rows["residual"].max() < 1e-5


def train(path=None, keep=(), steps=40, wrap=None) -> list[torch.Tensor]:
    """Weights, buffers, momenta and random state after training with dropout."""
    training = Training(dropout=0.3)
    torch.manual_seed(7)
    sides = {"student": Side(training.student, "4"), "teacher": Side(training.teacher, "4")}
    options = {"schedule": every(3), "keep": keep}
    recorder = None if path is None else Recorder(path, LOSS, **options, **sides)
    for x, y, _ in batches(steps):
        with torch.no_grad():
            teacher = training.teacher(x)
        student = training.student(x) if wrap is None else wrap(training.student, x)
        if recorder is not None:
            recorder.observe(y)
        training.update(sum(LOSS(student, teacher, y).values()).mean())
    if recorder is not None:
        recorder.close()
    momenta = [entry["momentum_buffer"] for entry in training.optimizer.state.values()]
    return [*training.student.state_dict().values(), *momenta, torch.get_rng_state()]


def in_two_halves(model, x):
    inner = checkpoint(model[:4], x, use_reentrant=False)
    return model[4](inner)


@pytest.mark.parametrize("wrap", [None, in_two_halves], ids=["plain", "checkpointed"])
def test_training_is_bit_equal_with_and_without_layers(tmp_path, wrap):
    probed = train(tmp_path / "run", ALL, wrap=wrap)
    bare = train(wrap=wrap)
    assert all(torch.equal(a, b) for a, b in zip(probed, bare, strict=True))
    assert len(read(tmp_path / "run")) == 14 * 3 * 16  # the control: layers were taken
    other = train(steps=39, wrap=wrap)
    assert not all(torch.equal(a, b) for a, b in zip(other, bare, strict=True))


@pytest.fixture
def walks(monkeypatch):
    """Every vector-Jacobian product, with the number of parameters it was asked for."""
    real, seen = torch.autograd.grad, []

    def grad(outputs, inputs, *rest, **options):
        seen.append(len(inputs))
        return real(outputs, inputs, *rest, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    return seen


def test_the_graph_is_walked_once_a_term_on_captured_steps_and_for_the_noise_again(tmp_path, walks):
    record(tmp_path / "both", steps=4)
    assert walks == 2 * 2 * len(LOSS.terms) * [3]  # the head is in closed form
    walks.clear()
    record(tmp_path / "dots", steps=4, keep=Layers(*LAYERS, noise=False))
    assert walks == 2 * len(LOSS.terms) * [3]
    assert "covariance" not in read(tmp_path / "dots")


def test_a_linear_head_needs_no_walk(tmp_path, walks):
    record(tmp_path / "run", keep=Layers("4"))
    assert walks == []
    whole = record(tmp_path / "whole")
    expected = pd.DataFrame(whole, columns=[*KEYS, "dot"]).query("layer == '4'")
    np.testing.assert_allclose(read(tmp_path / "run")["dot"], expected["dot"], rtol=1e-3, atol=1e-6)


def test_the_logits_are_a_layer_of_their_own_without_a_walk(tmp_path, walks):
    training, (x, y, _) = Training(), next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, keep=Layers("4", "logits"), **sides) as recorder:
        logits, teacher = training.forward(x)
        recorder.observe(y)
    assert walks == []
    logits.retain_grad()
    gradients = []
    for values in LOSS(logits, teacher, y).values():
        logits.grad = None
        values.mean().backward(retain_graph=True)
        gradients.append(logits.grad.double().flatten())
    expected = torch.stack(gradients) @ torch.stack(gradients).T
    rows = read(tmp_path / "run")
    assert list(dict.fromkeys(rows["layer"])) == ["logits", "4"]
    found = rows[rows["layer"] == "logits"]
    np.testing.assert_allclose(found["dot"], expected.flatten().numpy(), rtol=1e-4, atol=1e-8)
    assert found["covariance"].isna().all()
    assert rows[rows["layer"] == "4"]["covariance"].notna().all()


def test_a_module_of_the_name_logits_is_meant_before_the_logits(tmp_path):
    student = nn.Sequential()
    student.add_module("logits", nn.Linear(8, 6))
    student.add_module("scale", nn.Linear(6, 6))
    x, y, _ = next(batches(1))
    with Recorder(tmp_path / "run", LOSS, student=student, keep=Layers("logits")) as recorder:
        student(x)
        recorder.observe(y, teacher=torch.randn(10, 6))
    assert read(tmp_path / "run")["covariance"].notna().all()


class Tied(nn.Module):
    """Input and output share a weight, and the head gives the logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Linear(8, 8), nn.Linear(8, 8)
        self.first.weight = self.head.weight

    def forward(self, x):
        return self.head(self.first(x).tanh())


class Twice(nn.Module):
    """The head sees its own output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(8, 8)

    def forward(self, x):
        return self.head(self.head(x).tanh())


class Scaled(Twice):
    """What the head gives is not yet the logits."""

    def forward(self, x):
        return 3.0 * self.head(x)


class Frozen(Twice):
    """Half of the head learns."""

    def forward(self, x):
        self.head.bias.requires_grad_(False)
        return self.head(x)


class Doubled(nn.Linear):
    """A linear module that is more than linear in its weight."""

    def forward(self, x):
        return x @ (self.weight * self.weight).T


class Own(Twice):
    def __init__(self) -> None:
        super().__init__()
        self.head = Doubled(8, 8, bias=False)


class Hooked(Twice):
    """A hook on the head changes its weight or its output, and its class tells nothing of it."""

    def __init__(self, change) -> None:
        super().__init__()
        change(self.head)

    def forward(self, x):
        return self.head(x)


def added(head: nn.Linear) -> None:
    head.gain = nn.Parameter(torch.full((8,), 2.0))
    head.register_forward_hook(lambda module, given, output: output * module.gain)


CHANGES = {
    "weight norm": torch.nn.utils.weight_norm,
    "spectral norm": torch.nn.utils.spectral_norm,
    "pruning": lambda head: prune.l1_unstructured(head, "weight", 0.5),
    "three times": lambda head: head.register_forward_hook(lambda *seen: 3 * seen[2]),
    "a gain": added,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("change", CHANGES)
def test_a_head_that_hooks_change_gets_its_whole_gradient(tmp_path, change):
    test_a_head_that_is_not_quite_the_last_word_gets_its_whole_gradient(
        tmp_path, lambda: Hooked(CHANGES[change])
    )


@pytest.mark.parametrize("model", [Tied, Twice, Scaled, Frozen, Own])
def test_a_head_that_is_not_quite_the_last_word_gets_its_whole_gradient(tmp_path, model):
    student, teacher = model(), torch.randn(10, 8)
    x, y, _ = next(batches(1, classes=8))
    with Recorder(tmp_path / "run", DKD(), student=student, keep=Layers("head")) as recorder:
        logits = student(x)
        recorder.observe(y, teacher=teacher)
    for term, values in DKD()(logits, teacher, y).items():
        rows = read(tmp_path / "run")
        student.zero_grad()
        values.mean().backward(retain_graph=True)
        norm = sum(p.grad.double().square().sum() for p in student.head.parameters()
                   if p.requires_grad)  # fmt: skip
        found = rows[(rows.term_a == term) & (rows.term_b == term)]
        assert found["dot"].item() == pytest.approx(norm.item(), rel=1e-4)


def test_the_covariance_of_a_head_is_that_of_its_samples(tmp_path):
    training, (x, y, _) = Training(), next(batches(1))
    training.student.eval()
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, keep=Layers("4"), **sides) as recorder:
        logits, teacher = training.forward(x)
        recorder.observe(y)
    for term, values in LOSS(logits, teacher, y).items():
        rows = []
        for value in values:
            training.student.zero_grad()
            value.backward(retain_graph=True)
            rows.append(torch.cat([p.grad.flatten() for p in training.student[4].parameters()]))
        variance = torch.stack(rows).double().var(0).sum()
        table = read(tmp_path / "run")
        row = table[(table.term_a == term) & (table.term_b == term)]
        assert row["covariance"].item() == pytest.approx(variance.item(), rel=1e-4)


def test_halves_are_drawn_by_seed_and_step(tmp_path):
    def covariances(name, **options) -> pd.Series:
        record(tmp_path / name, Layers("0"), **options)
        return read(tmp_path / name)["covariance"]

    first = covariances("a", seed=1)
    assert first.equals(covariances("b", seed=1))
    assert not first.equals(covariances("c", seed=2))
    assert (first.to_numpy().reshape(2, 4, 4).diagonal(axis1=1, axis2=2) > 0).all()
    same = Training()
    same.optimizer.param_groups[0]["lr"] = 0.0
    halves = covariances("d", training=same, ramp=1.0).to_numpy().reshape(2, -1)
    assert not np.allclose(halves[0], halves[1])  # other samples and other halves


def test_the_halves_of_a_batch_change_with_the_step(tmp_path):
    training, (x, y, _) = Training(), next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(tmp_path / "run", LOSS, keep=Layers("0"), schedule=every(1), **sides) as recorder:
        for _ in range(2):
            training.forward(x)
            recorder.observe(y)
    values = read(tmp_path / "run").groupby("step")[["dot", "covariance"]].sum()
    assert values["dot"][0] == values["dot"][1]
    assert values["covariance"][0] != values["covariance"][1]


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_logits_with_nan_give_rows_of_nan(tmp_path, side):
    training, (x, y, _) = Training(), next(batches(1))
    student, teacher = training.forward(x)
    given = {"student": student, "teacher": teacher}
    given[side] = given[side] * torch.tensor([1.0, 1, 1, 1, 1, float("nan")])
    with Recorder(tmp_path / "run", LOSS, student=training.student, keep=ALL) as recorder:
        recorder.observe(y, **given)
    rows = read(tmp_path / "run")
    assert len(rows) == 3 * 16
    assert rows["dot"].isna().all()
    assert rows["covariance"].isna().all()


def test_a_gradscalers_factor_leaves_the_dot_products_as_they_are(tmp_path):
    class Scaler:
        def get_scale(self) -> float:
            return 2.0**14

    record(tmp_path / "plain")
    training, scale = Training(), Scaler().get_scale()
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": every(2), "keep": ALL, "scaling": Scaling(Scaler())}
    with Recorder(tmp_path / "scaled", LOSS, **sides, **options) as recorder:
        for x, y, _ in batches(3):
            recorder.epoch = 5 + recorder.step // 2
            training.forward(x)
            (scale * recorder.loss(y, ramp=0.5)).backward()
            for p in training.student.parameters():
                p.grad /= scale
            training.optimizer.step()
            training.optimizer.zero_grad()
    plain, scaled = read(tmp_path / "plain"), read(tmp_path / "scaled")
    pd.testing.assert_frame_equal(plain, scaled, rtol=1e-4, atol=1e-9)


def test_mixed_precision_gives_what_its_own_backward_passes_give(tmp_path):
    training, (x, y, _) = Training(), next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    with (
        Recorder(tmp_path / "run", LOSS, keep=ALL, **sides) as recorder,
        torch.autocast("cpu", torch.bfloat16),
    ):
        logits, teacher = training.forward(x)
        recorder.observe(y)
        values = LOSS(logits, teacher, y)
    assert logits.dtype == torch.bfloat16
    for term, value in values.items():
        training.student.zero_grad()
        value.mean().backward(retain_graph=True)
        norm = training.student[0].weight.grad.square().sum()
        norm += training.student[0].bias.grad.square().sum()
        rows = read(tmp_path / "run")
        row = rows[(rows.layer == "0") & (rows.term_a == term) & (rows.term_b == term)]
        assert row["dot"].item() == pytest.approx(norm.item(), rel=0.02)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep": Layers("0", "44")}, "has no layer '44'; did you mean '4'"),
        ({"keep": Layers("0"), "loss": None}, "layers need a loss: what is kept are the gradients"),
        (
            {"keep": Layers("0"), "student": None},
            r"layers \('0',\) are the student's: pass",
        ),
        ({"keep": Layers("4"), "layer": "9"}, "the student has no layer '9'"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_any_step(tmp_path, given, message):
    training = Training()
    student = {"student": Side(training.student, given.pop("layer", ""))}
    with pytest.raises(ValueError, match=message):
        Recorder(tmp_path / "run", **({"loss": LOSS} | student | given))
    assert not any(m._forward_hooks for m in training.student.modules())
    assert not (tmp_path / "run").exists()


def test_logits_without_a_graph_have_no_layers(tmp_path):
    training, (x, y, _) = Training(), next(batches(1))
    with (
        Recorder(tmp_path / "run", LOSS, student=training.student, keep=Layers("0")) as recorder,
        torch.no_grad(),
    ):
        training.student(x)
        with pytest.raises(RuntimeError, match="logits carry no graph"):
            recorder.observe(y, teacher=torch.randn(10, 6))


def test_head_hooks_go_with_the_recorder_and_copies_of_the_model_have_none(tmp_path):
    training = Training()
    recorder = Recorder(tmp_path / "run", LOSS, student=training.student, keep=Layers("4"))
    assert len(training.student[4]._forward_hooks) == 1  # the control
    copy.deepcopy(training.student)(torch.randn(2, 8))
    pickle.loads(pickle.dumps(training.student))(torch.randn(2, 8))
    recorder.close()
    assert not training.student[4]._forward_hooks


def test_no_graph_is_kept_once_a_step_is_over(tmp_path):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": every(1), "keep": ALL}
    with Recorder(tmp_path / "run", LOSS, **sides, **options) as recorder:
        for x, y, _ in batches(10):
            for _ in range(3):
                training.student(x)
            training.forward(x)
            training.update(recorder.loss(y, student=training.student(x)))
        gc.collect()
        alive = [
            entry
            for entry in gc.get_objects()
            if type(entry) is torch.Tensor and entry.grad_fn is not None
        ]
    assert len(alive) <= 3


def test_a_run_goes_on_with_its_layers_after_a_resume(tmp_path):
    record(tmp_path / "run", steps=1)
    record(tmp_path / "run", steps=1, store=Store(existing="resume"))
    assert read(tmp_path / "run").groupby("step").size().tolist() == [48]
    student, teacher = network(0), network(1).eval()
    options = {"store": Store(existing="resume"), "schedule": every(1), "keep": ALL}
    with Recorder(tmp_path / "run", LOSS, student=student, teacher=teacher, **options) as recorder:
        assert recorder.step == 1
        for x, y, _ in batches(2):
            teacher(x)
            student(x)
            recorder.observe(y)
    assert read(tmp_path / "run").groupby("step").size().tolist() == [48, 48, 48]
