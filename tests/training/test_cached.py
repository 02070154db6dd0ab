"""A teacher whose logits are computed once: as if it ran, and read back for it alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kdanalysis import open_run
from kdanalysis.data import load_data
from kdanalysis.networks.zoo import build_model
from kdanalysis.training import Experiment, Settings, Stones, run_experiment
from kdanalysis.training.cached import CachedTeacher, said_once
from kdanalysis.training.predict import predict_pooled

CPU = torch.device("cpu")
LOSSES = ("kd", "sdd-kd:scales=1/2")
SETTINGS = Settings(
    *(2, 32), crops=False, record_every=1, record_regions=4, region_scales=(1, 2), seed=3
)


@pytest.fixture(scope="module")
def data():
    """Images that may be mirrored, and that mirroring changes."""
    digits = load_data("digits", image_size=16, limit=80, seed=0)
    digits.train.mirror = True
    return digits


@pytest.fixture(scope="module")
def live(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    experiment = Experiment(data, "resnet8", "resnet8", LOSSES, SETTINGS, teacher_epochs=1)
    return experiment, folder, run_experiment(experiment, folder, CPU)


@pytest.fixture(scope="module")
def cached(live, tmp_path_factory):
    experiment, taught, _ = live
    folder = tmp_path_factory.mktemp("cached")
    own = replace(experiment, teacher=str(taught / "teacher.pt"), cache=folder / "cache")
    return own, folder, run_experiment(own, folder, CPU)


def rows(outcome, name: str) -> dict[str, np.ndarray]:
    columns = ("step", "sample_id", "target", "residual", "teacher_logits", "student_logits")
    (found,) = open_run(outcome.runs[name]).batches(columns, 100_000)
    order = np.lexsort((found["sample_id"], found["step"]))
    return {key: np.asarray(values)[order] for key, values in found.items()}


@pytest.mark.parametrize("name", ["kd", "sdd-kd-scales-1-2"])
def test_a_run_is_that_of_a_teacher_that_runs(live, cached, name):
    before, now = rows(live[2], name), rows(cached[2], name)
    for column in ("step", "sample_id", "target"):
        np.testing.assert_array_equal(now[column], before[column])
    np.testing.assert_allclose(now["teacher_logits"], before["teacher_logits"], atol=2e-3)
    np.testing.assert_allclose(now["student_logits"], before["student_logits"], atol=2e-2)
    assert np.nanmax(now["residual"]) < 1e-4
    both = [open_run(one.runs[name]).tables(["share", "anatomy"]) for one in (live[2], cached[2])]
    for noun in both[0]:
        left, right = (one[noun].select_dtypes("number").astype(float) for one in both)
        np.testing.assert_allclose(right, left, rtol=0.02, atol=0.02)  # logits are float16


def test_a_mirrored_image_has_the_logits_of_its_mirror_image(live, data, tmp_path):
    teacher = build_model("resnet8", 10).eval()
    kept = CachedTeacher(teacher, data.train, CPU, tmp_path, (), seed=3, augment=True)
    shown = data.train.batches(32, shuffle=True, seed=3, epoch=1, augment=True, crops=False)
    mirrored = data.train.mirrored(3, 1)
    assert 20 < mirrored.sum() < 60  # the control: both kinds are there
    for x, _, ids in shown:
        with torch.no_grad():
            torch.testing.assert_close(kept(ids, 1), teacher(x), rtol=1e-4, atol=1e-5)


def test_the_logits_are_read_back_where_they_are_the_teachers_own(data, tmp_path, monkeypatch):
    teacher, how = build_model("resnet8", 10).eval(), (data.train, CPU, tmp_path, (), 0, True)
    first = CachedTeacher(teacher, *how).logits
    monkeypatch.setattr("kdanalysis.training.cached.predict", lambda *_: pytest.fail("computed"))
    np.testing.assert_array_equal(CachedTeacher(teacher, *how).logits, first)
    with torch.no_grad():
        teacher.fc.bias[0] += 1e-3
    with pytest.raises(pytest.fail.Exception, match="computed"):
        CachedTeacher(teacher, *how)


def test_logits_and_features_of_the_validation_images_are_computed_once(
    data, tmp_path, monkeypatch
):
    teacher, how = build_model("resnet8", 10).eval(), (data.valid, CPU)
    expected = predict_pooled(teacher, *how)
    first = said_once(teacher, *how, tmp_path)
    monkeypatch.setattr("kdanalysis.training.cached.predict_pooled", None)
    for found in (first, said_once(teacher, *how, tmp_path)):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"settings": replace(SETTINGS, crops=True)}, "not for its crops: train without crops"),
        (
            {"settings": Settings(crops=False), "stones": Stones()},
            "stepping stones run the teacher's blocks on every image",
        ),
    ],
)
def test_what_needs_the_teacher_itself_is_refused(cached, changed, message):
    with pytest.raises(ValueError, match=message):
        replace(cached[0], losses=("kd",), **changed)
