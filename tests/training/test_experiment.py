"""Experiments: what is written, exact resuming, and refusals before anything is trained."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis import open_run
from kdanalysis.data import load_data
from kdanalysis.losses import Loss
from kdanalysis.networks.zoo import build_model
from kdanalysis.training import Experiment, Settings, Stones, run_experiment
from kdanalysis.training.checkpoint import load_network, read_checkpoint, save_checkpoint
from kdanalysis.training.fit import Fit
from kdanalysis.training.predict import predict, predict_pooled

CPU = torch.device("cpu")
QUICK = Settings(epochs=2, batch_size=32, record_every=2, seed=3)


@pytest.fixture(scope="module")
def data():
    return load_data("digits", image_size=8, limit=96, seed=0)


@pytest.fixture(scope="module")
def experiment(data):
    return Experiment(data, "resnet8", "resnet8", ("kd", "gdkd:k=3"), QUICK, teacher_epochs=1)


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_experiment(experiment, folder, CPU)


def weights(path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)["weights"]


def test_every_student_has_a_run_a_checkpoint_and_logits(whole, data):
    folder, outcome = whole
    assert outcome.students.network.tolist() == ["teacher", "kd", "gdkd-k-3"]
    run = open_run(outcome.runs["gdkd-k-3"])
    assert run.steps().tolist() == [0, 2, 4]
    assert run.info.weights == {"ce": 1.0, "high": 1.0, "low_top": 1.0, "low_other": 8.0}
    assert run.info.temperature == 4.0
    (rows,) = run.batches(["residual", "sample_id", "target"], 10_000)
    assert np.nanmax(rows["residual"]) < 1e-4
    assert (data.train.labels[rows["sample_id"]] == rows["target"]).all()
    with np.load(outcome.logits["kd"], allow_pickle=False) as file:
        student = load_network(folder / "students" / "kd.pt", data)
        np.testing.assert_array_equal(file["student_logits"], predict(student, data.valid, CPU))
        accuracy = (file["student_logits"].argmax(-1) == data.valid.labels).mean()
    assert outcome.students.accuracy[1] == pytest.approx(accuracy)


@torch.no_grad()
def test_the_features_that_the_heads_saw_lie_beside_the_logits(whole, data):
    folder, outcome = whole
    ((images, *_),) = data.valid.batches(1000)
    student, teacher = (
        load_network(folder / name, data).eval() for name in ("students/kd.pt", "teacher.pt")
    )
    for name, sides in (("kd", {"student": student, "teacher": teacher}), ("teacher", {})):
        with np.load(outcome.logits[name], allow_pickle=False) as file:
            assert [key for key in file if key.startswith("student")] == (
                ["student_logits", "student_features"] if sides else []
            )
            for side, network in (sides or {"teacher": teacher}).items():
                features = file[f"{side}_features"]
                assert features.dtype == np.float16
                pooled = network.forward_features(images).mean((-2, -1)).numpy()
                np.testing.assert_allclose(features, pooled, rtol=1e-3, atol=1e-4)


def test_features_beyond_float16_stay_float32_and_the_head_is_left_without_a_hook(data):
    model = build_model("resnet8", 10)
    model.layer3[-1].bn2.weight.data.fill_(1e6)
    _, features = predict_pooled(model, data.valid, CPU)
    assert features.dtype == np.float32
    assert np.finfo(np.float16).max < features.max() < np.inf
    assert not model.head._forward_pre_hooks
    model.layer3.forward = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        predict_pooled(model, data.valid, CPU)
    assert not model.head._forward_pre_hooks


def test_the_teacher_stays_as_it_was_and_the_students_learn(experiment, tmp_path, monkeypatch):
    taught = []
    plain = torch.nn.Module.train

    def watched(model, mode=True):
        taught.append((model, mode))
        return plain(model, mode)

    monkeypatch.setattr(torch.nn.Module, "train", watched)
    outcome = run_experiment(replace(experiment, losses=("kd",)), tmp_path, CPU)
    with np.load(outcome.logits["teacher"], allow_pickle=False) as file:
        before = file["teacher_logits"]
    teacher = load_network(tmp_path / "teacher.pt", experiment.data)
    np.testing.assert_array_equal(predict(teacher, experiment.data.valid, CPU), before)
    student = load_network(tmp_path / "students" / "kd.pt", experiment.data)
    fresh = _fresh(experiment)
    assert not torch.equal(student.state_dict()["conv1.weight"], fresh["conv1.weight"])
    assert student.state_dict()["bn1.num_batches_tracked"] == 6  # trained in training mode
    assert teacher.state_dict()["bn1.num_batches_tracked"] == 3  # and no batch more


def _fresh(experiment):
    torch.manual_seed(experiment.settings.seed)
    return build_model(experiment.student, len(experiment.data.classes)).state_dict()


def test_captured_epochs_ramps_and_rates_follow_the_settings(data, tmp_path, monkeypatch):
    ramps, rates = [], []
    forward, step = Loss.forward, torch.optim.SGD.step

    def watched(loss, student, teacher, target, ramp=1.0):
        ramps.append(ramp)
        return forward(loss, student, teacher, target, ramp)

    def stepping(optimizer, closure=None):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, closure)

    monkeypatch.setattr(Loss, "forward", watched)
    monkeypatch.setattr(torch.optim.SGD, "step", stepping)
    settings = replace(QUICK, warmup=2, record_every=1, record_rows=5)
    outcome = run_experiment(
        Experiment(data, "resnet8", "resnet8", ("kd",), settings), tmp_path, CPU
    )
    assert ramps[1:] == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])  # after the probe
    assert rates[6:] == pytest.approx([settings.rate(i / 6) for i in range(6)])
    (rows,) = open_run(outcome.runs["kd"]).batches(["step", "epoch"], 1000)
    assert rows["epoch"].tolist() == [0] * 15 + [1] * 15
    assert rows["step"].tolist() == np.repeat(range(6), 5).tolist()


def test_agreement_is_with_the_teacher(whole):
    _, outcome = whole
    with np.load(outcome.logits["kd"], allow_pickle=False) as file:
        same = file["student_logits"].argmax(-1) == file["teacher_logits"].argmax(-1)
    assert outcome.students.agreement.tolist()[:2] == [1.0, pytest.approx(same.mean())]


KILLED = """
import os, sys
from dataclasses import replace
from pathlib import Path
import torch
from kdanalysis.data import load_data
from kdanalysis.training import Experiment, Settings, run_experiment
from kdanalysis.training.fit import Fit

save = Fit._save
def dying(fit):
    save(fit)
    if fit.path.name == "kd.pt" and fit.epoch == 1:
        os._exit(9)
Fit._save = dying
data = load_data("digits", image_size=8, limit=96, seed=0)
settings = Settings(epochs=2, batch_size=32, record_every=2, seed=3)
experiment = Experiment(data, "resnet8", "resnet8", ("kd",), settings, teacher_epochs=1)
run_experiment(experiment, Path(sys.argv[1]), torch.device("cpu"))
"""


def test_a_killed_training_loses_no_captured_step(experiment, whole, tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run")]
    assert subprocess.run(command, check=False).returncode == 9
    again = replace(experiment, losses=("kd",))
    outcome = run_experiment(again, tmp_path / "run", CPU, resume=True)
    run, other = open_run(outcome.runs["kd"]), open_run(whole[1].runs["kd"])
    assert run.steps().tolist() == other.steps().tolist() == [0, 2, 4]
    # Some of these were computed in another process, whose last bits may be others.
    pd.testing.assert_frame_equal(run.table("magnitude"), other.table("magnitude"), rtol=1e-4)


def test_an_interrupted_training_resumes_to_the_same_weights(experiment, whole, tmp_path):
    class Stopped(Exception):
        pass

    def stopping(label, total):
        raise_at = 150 if label.startswith("student gdkd") else 10**9
        return _Stop(raise_at, Stopped)

    with pytest.raises(Stopped):
        run_experiment(experiment, tmp_path / "run", CPU, progress=stopping)
    outcome = run_experiment(experiment, tmp_path / "run", CPU, resume=True)
    for name in ("kd", "gdkd-k-3"):
        expected = weights(whole[0] / "students" / f"{name}.pt")
        found = weights(tmp_path / "run" / "students" / f"{name}.pt")
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    run, other = open_run(outcome.runs["gdkd-k-3"]), open_run(whole[1].runs["gdkd-k-3"])
    assert run.steps().tolist() == other.steps().tolist()
    assert run.duplicates > 0  # the control: steps after the checkpoint were trained twice
    assert run.table("magnitude").equals(other.table("magnitude"))


class _Stop:
    """A progress bar that ends the training after so many images."""

    def __init__(self, images: int, error: type[Exception]) -> None:
        self.images, self.error = images, error

    def __enter__(self):
        return self.advance

    def __exit__(self, *error) -> None:
        pass

    def advance(self, count: int, note: str = "") -> None:
        self.images -= count
        if self.images < 0:
            raise self.error


def test_other_settings_do_not_resume(experiment, whole, data):
    folder, _ = whole
    model = load_network(folder / "teacher.pt", data)
    facts = {"model": "resnet20", "classes": data.classes}
    with pytest.raises(ValueError, match="its model is 'resnet8', now it is 'resnet20'"):
        Fit(model, data, QUICK, CPU, folder / "teacher.pt", facts).resume()


def test_a_checkpoint_serves_as_teacher(whole, data, tmp_path):
    folder, _ = whole
    experiment = Experiment(data, str(folder / "teacher.pt"), "resnet8", ("kd",), QUICK)
    outcome = run_experiment(experiment, tmp_path, CPU)
    assert outcome.students.accuracy[0] == whole[1].students.accuracy[0]
    assert not (tmp_path / "teacher.pt").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"student": "resnet9"}, "there is no model 'resnet9': the nearest names are"),
        ({"teacher": "resnot20"}, "there is no model 'resnot20'"),
        ({"losses": ("gdkd:kk=3",)}, "loss 'gdkd' has no option 'kk'; did you mean 'k'"),
        ({"losses": ("kd", "kd")}, "each named once"),
        ({"losses": ()}, "need at least one loss"),
        ({"losses": ("gdkd:k=10",)}, "loss 'gdkd:k=10' cannot be trained with here: .* 0 < k < 10"),
        ({"losses": ("kd:" + "temperature=4,weight=1" + "0" * 70,)}, "is no run name"),
        ({"teacher_epochs": 0}, "teacher_epochs must be at least 1, got 0"),
    ],
)
def test_bad_experiments_are_refused_at_once(data, given, message):
    arguments = {"data": data, "teacher": "resnet8", "student": "resnet8"} | given
    with pytest.raises(ValueError, match=message):
        Experiment(**arguments)


def test_a_teacher_of_other_classes_is_refused(whole, tmp_path):
    glyphs = load_data("glyphs", image_size=8, limit=124)
    with pytest.raises(ValueError, match="tells 10 classes apart, the data has 62"):
        Experiment(glyphs, str(whole[0] / "teacher.pt"), "resnet8")


def test_a_teacher_that_knows_the_classes_in_another_order_is_refused(whole, data):
    other = replace(data, classes=["1", "0", *data.classes[2:]])
    with pytest.raises(ValueError, match=r"class 0 of .* is '0', in the data it is '1'"):
        Experiment(other, str(whole[0] / "teacher.pt"), "resnet8")


def test_a_diverged_training_says_so_and_leaves_no_checkpoint(data, tmp_path):
    wild = replace(QUICK, learning_rate=1e12, epochs=1)
    with pytest.raises(ValueError, match=r"teacher resnet8 diverged .* learning rate 1e\+12"):
        run_experiment(Experiment(data, "resnet8", "resnet8", ("kd",), wild), tmp_path, CPU)
    assert not (tmp_path / "teacher.pt").exists()


def test_one_image_is_no_training_set():
    with pytest.raises(ValueError, match="need at least 2 training images"):
        Experiment(load_data("digits", image_size=8, limit=1), "resnet8", "resnet8")


def test_the_fingerprint_tells_experiments_apart(experiment, whole):
    teacher = str(whole[0] / "teacher.pt")
    others = [
        replace(experiment, data=load_data("digits", image_size=16, limit=96, seed=0)),
        replace(experiment, data=load_data("digits", image_size=8, limit=95, seed=0)),
        replace(experiment, data=load_data("digits", image_size=8, limit=96, seed=1)),
        replace(experiment, teacher=teacher),
        replace(experiment, losses=("kd:temperature=2", "gdkd:k=3")),
        replace(experiment, teacher_epochs=2),
        replace(experiment, settings=replace(QUICK, learning_rate=0.1)),
    ]
    for other in others:
        assert other.fingerprint() != experiment.fingerprint()
    assert replace(experiment).fingerprint() == experiment.fingerprint()
    uncropped = replace(experiment, settings=replace(QUICK, crops=False))
    assert replace(uncropped, cache=whole[0]).fingerprint() != uncropped.fingerprint()
    given = replace(experiment, teacher=teacher)
    assert replace(given, teacher_epochs=2).fingerprint() == given.fingerprint()  # trained already


def test_checkpoints_run_no_code_and_say_what_is_wrong(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path / "owned").touch, ()

    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "none.pt")
    torch.save({"weights": Evil(), "facts": {}}, tmp_path / "evil.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    for name in ("evil.pt", "text.pt"):
        with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "owned").exists()
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match="is not a checkpoint that kdanalysis train wrote"):
        read_checkpoint(tmp_path / "foreign.pt")


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    model = torch.nn.Linear(2, 2)
    save_checkpoint(tmp_path / "model.pt", model, {"model": "a"})

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path / "model.pt", model, {"model": "b"})
    assert read_checkpoint(tmp_path / "model.pt")["facts"] == {"model": "a"}
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_every_module_keeps_its_own_mode_over_a_prediction(data):
    model = build_model("resnet8", len(data.classes)).train()
    model.layer1.eval()  # frozen statistics
    before = [module.training for module in model.modules()]
    predict(model, data.valid, CPU)
    assert [module.training for module in model.modules()] == before
    assert len(set(before)) == 2  # the control


@pytest.mark.parametrize("stones", [None, Stones()], ids=["plain", "stones"])
def test_asking_for_the_losses_draws_no_random_number(data, stones):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    experiment = Experiment(data, "resnet8", "resnet8", ("kd", "dkd"), QUICK, stones=stones)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(experiment.named_losses()) == ["kd", "dkd"]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_with_cross_entropy_is_given_no_second_one(data):
    losses = Experiment(data, "resnet8", "resnet8", ("ce", "ce+kd", "kd"), QUICK).named_losses()
    weights = [loss.term_weights for loss in losses.values()]
    assert weights == [{"ce": 1.0}, {"ce": 1.0, "kd": 1.0}, {"ce": 1.0, "kd": 1.0}]
