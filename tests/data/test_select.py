"""Some classes of a set: the right images under new numbers, by their own normalisation."""

import numpy as np
import pytest
import torch

from kdanalysis.data import load_data
from kdanalysis.data.encoded import Encoded
from kdanalysis.data.select import select_classes


@pytest.fixture(scope="module")
def data():
    return load_data("digits", image_size=8, limit=200)


@pytest.mark.parametrize(
    ("classes", "kept"), [(3, [0, 1, 2]), (["7", "2"], [7, 2]), (["9", "0", "4"], [9, 0, 4])]
)
def test_the_images_of_these_classes_are_kept_in_their_order(data, classes, kept):
    few = select_classes(data, classes)
    assert few.classes == [data.classes[number] for number in kept]
    for part, whole in ((few.train, data.train), (few.valid, data.valid)):
        rows = [i for i, label in enumerate(whole.labels) if label in kept]
        assert torch.equal(part.pixels, whole.pixels[rows])
        assert part.labels.tolist() == [kept.index(whole.labels[i]) for i in rows]
    torch.testing.assert_close(few.mean, (few.train.pixels / 255).mean((0, 2, 3)))


def test_a_number_names_a_class_that_has_another_name(data):
    named = load_data("glyphs", image_size=8, limit=186)
    assert select_classes(named, ["a", "11"]).classes == ["a", named.classes[11]]


def test_a_limit_counts_the_images_that_are_kept():
    few = load_data("digits", image_size=8, limit=20, classes=2)
    assert (len(few.train), len(few.valid)) == (20, 5)
    assert np.bincount(few.train.labels).tolist() == [10, 10]


def test_encoded_images_stay_encoded_until_they_are_needed(data, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr("kdanalysis.data.encoded.BYTES_HELD", 0)
    for name in "abc":
        for number in range(5):
            path = tmp_path / name / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (10 * number, ord(name), 0)).save(path)
    few = load_data(tmp_path, classes=["c", "a"])
    assert isinstance(few.train.pixels, Encoded)
    greens = few.train.pixels[torch.arange(8)][:, 1, 0, 0].tolist()
    assert greens == [ord("ca"[label]) for label in few.train.labels]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (11, "digits has 10 classes: keep 2 to all, not 11"),
        (1, "keep 2 to all, not 1"),
        (["1", "x"], "digits has no class 'x': its 10 classes are 0, 1, 2, 3, 4, ..."),
        (["1", "1"], "need at least two classes, each named once; got 1, 1"),
        (["1"], "need at least two classes, each named once; got 1"),
    ],
)
def test_classes_that_are_not_there_are_refused(data, classes, message):
    with pytest.raises(ValueError, match=message):
        select_classes(data, classes)
