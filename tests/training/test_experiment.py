"""Experiments: what is written, exact resuming, and refusals before anything is trained."""

import numpy as np
import pytest
import torch

from kdanalysis import open_run
from kdanalysis.data import load_data
from kdanalysis.training import Experiment, Settings, run_experiment
from kdanalysis.training.checkpoint import load_network, read_checkpoint, save_checkpoint
from kdanalysis.training.fit import Fit
from kdanalysis.training.predict import predict

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
        student, _ = load_network(folder / "students" / "kd.pt", 10)
        np.testing.assert_array_equal(file["student_logits"], predict(student, data.valid, CPU))
        accuracy = (file["student_logits"].argmax(-1) == data.valid.labels).mean()
    assert outcome.students.accuracy[1] == pytest.approx(accuracy)


def test_the_teacher_is_frozen_and_the_students_learn(whole):
    folder, _ = whole
    start = weights(folder / "teacher.pt")["conv1.weight"]
    students = [
        weights(folder / "students" / f"{n}.pt")["conv1.weight"] for n in ("kd", "gdkd-k-3")
    ]
    assert not torch.equal(students[0], students[1])
    assert not torch.equal(start, students[0])


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

    def advance(self, count: int) -> None:
        self.images -= count
        if self.images < 0:
            raise self.error


def test_other_settings_do_not_resume(experiment, whole, data):
    folder, _ = whole
    model, _ = load_network(folder / "teacher.pt", 10)
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
