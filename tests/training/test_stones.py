"""Training with stepping stones: what is written, exact resuming, and refusals beforehand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis import Blockwise, open_run
from kdanalysis.data import load_data
from kdanalysis.losses import restore_loss
from kdanalysis.networks.zoo import build_model
from kdanalysis.training import Experiment, Settings, Stones, run_experiment
from kdanalysis.training.checkpoint import load_network, read_checkpoint
from kdanalysis.training.predict import predict

CPU = torch.device("cpu")
QUICK = Settings(epochs=2, batch_size=32, record_every=2, seed=3, record_layers=("layer1",))


@pytest.fixture(scope="module")
def data():
    return load_data("digits", image_size=8, limit=96, seed=0)


@pytest.fixture(scope="module")
def experiment(data):
    stones = Stones(None, ("layer1", "layer2", "layer3"))
    return Experiment(data, "resnet14", "resnet8", ("dkd",), QUICK, 1, stones)


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_experiment(experiment, folder, CPU)


def test_the_student_is_a_plain_network_with_a_run_of_the_stones_loss(whole, data):
    folder, outcome = whole
    student = load_network(folder / "students" / "dkd.pt", data)
    plain = build_model("resnet8", len(data.classes)).state_dict()
    assert {k: v.shape for k, v in student.state_dict().items()} == {
        k: v.shape for k, v in plain.items()
    }
    with np.load(outcome.logits["dkd"], allow_pickle=False) as file:
        np.testing.assert_array_equal(file["student_logits"], predict(student, data.valid, CPU))
    run = open_run(outcome.runs["dkd"])
    assert isinstance(restore_loss(run.info.loss), Blockwise)
    (rows,) = run.batches(["residual"], 10_000)
    assert np.nanmax(rows["residual"]) < 1e-3
    layers = run.table("layers")
    assert {"stone_1/distill", "student/task"} <= set(layers.term_a)


def test_the_ladder_is_kept_by_epoch(whole, data):
    folder, outcome = whole
    trained = outcome.ladders["dkd"]
    table, gradient = trained.history().values()
    assert table.epoch.tolist() == [1] * 5 + [2] * 5
    assert (table.temperature == 4).all()  # DKD's own
    assert table.side[:5].tolist() == ["teacher", "stone_1", "stone_2", "stone_3", "student"]
    last = table[table.epoch == 2].set_index("side")
    assert last.accuracy["student"] == pytest.approx(outcome.students.accuracy[1])
    assert last.agreement_teacher["student"] == pytest.approx(outcome.students.agreement[1])
    assert last.accuracy["teacher"] == pytest.approx(outcome.students.accuracy[0])
    assert pd.read_csv(folder / "students" / "dkd.ladder_training.csv").equals(table)
    assert gradient.epoch.tolist() == [1] * 12 + [2] * 12
    assert gradient.groupby(["epoch", "block"]).share.sum().tolist() == pytest.approx([1] * 6)
    assert (gradient.n == len(data.valid)).all()


def test_connectors_learn_and_the_teacher_does_not(whole, experiment, data):
    folder, outcome = whole
    kept = read_checkpoint(folder / "students" / "dkd.pt")["beside"]
    trained = outcome.ladders["dkd"].ladder.connectors.state_dict()
    assert kept.keys() == trained.keys()
    assert all(torch.equal(kept[name], trained[name]) for name in kept)
    assert kept["0.1.num_batches_tracked"] == 6
    teacher = load_network(folder / "teacher.pt", data)
    with np.load(outcome.logits["teacher"], allow_pickle=False) as file:
        np.testing.assert_array_equal(predict(teacher, data.valid, CPU), file["teacher_logits"])


def test_an_interrupted_training_goes_on_to_the_same_weights(whole, experiment, tmp_path):
    class Stop(Exception):
        pass

    calls = []

    def progress(label, total):
        from contextlib import contextmanager

        @contextmanager
        def bar():
            def advance(count, note=""):
                calls.append(label)
                if calls.count("student dkd") == 4:  # in the second epoch
                    raise Stop

            yield advance

        return bar()

    with pytest.raises(Stop):
        run_experiment(experiment, tmp_path, CPU, progress=progress)
    assert read_checkpoint(tmp_path / "students" / "dkd.pt")["epoch"] == 1
    outcome = run_experiment(experiment, tmp_path, CPU, resume=True)
    once, twice = (read_checkpoint(f / "students" / "dkd.pt") for f in (whole[0], tmp_path))
    for part in ("weights", "beside"):
        for name, value in once[part].items():
            assert torch.equal(value, twice[part][name]), name
    tables = [found.ladders["dkd"].history() for found in (outcome, whole[1])]
    for noun, table in tables[0].items():
        pd.testing.assert_frame_equal(table, tables[1][noun])


def test_light_uses_the_deeper_stones(experiment):
    some = replace(experiment, stones=Stones(light=True))
    assert some.named_losses()["dkd"].numbers == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stones": Stones(("layer1",))}, "the student has 1 blocks and the teacher 3"),
        ({"stones": Stones(("layer1", "layr2", "layer3"))}, "has no block 'layr2'"),
        ({"losses": ("sdd-kd",), "stones": Stones()}, "the base of Blockwise is a loss on whole"),
        (
            {"settings": replace(QUICK, record_regions=4), "stones": Stones()},
            "regions are not recorded of students that learn with stones",
        ),
        ({"losses": ("gdkd:k=12",)}, "loss 'gdkd:k=12' cannot be trained with here"),
    ],
)
def test_what_cannot_be_trained_is_refused_before(experiment, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(experiment, **changes)
