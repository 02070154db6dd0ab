"""The digits are scikit-learn's, enlarged and split by seed."""

import numpy as np
from sklearn import datasets

from kdanalysis.data.digits import load_digits


def test_at_their_own_size_the_digits_are_scikit_learns():
    splits = load_digits(8)
    ours = {}
    for part in (splits.train, splits.valid):
        for pixels, label in zip(part.pixels.numpy(), part.labels, strict=True):
            assert (pixels == pixels[0]).all()
            ours.setdefault(pixels[0].tobytes(), label)
    theirs = datasets.load_digits()
    levels = np.round(theirs.images / 16 * 255).astype(np.uint8)
    assert len(splits.train) + len(splits.valid) == len(levels)
    assert ours == {image.tobytes(): y for image, y in zip(levels, theirs.target, strict=True)}


def test_enlarging_keeps_brightness_and_a_fifth_validates():
    splits = load_digits()
    assert splits.train.image_shape == (3, 16, 16)
    assert abs(splits.mean[0] - load_digits(8).mean[0]) < 0.01
    assert (len(splits.train), len(splits.valid)) == (1438, 359)
    assert np.ptp(np.bincount(splits.valid.labels)) <= 3
    assert splits.classes == list("0123456789")
    assert not splits.train.mirror


def test_seed_and_limit_choose_the_digits():
    assert (load_digits(8, seed=1).valid.labels != load_digits(8, seed=2).valid.labels).any()
    limited = load_digits(8, limit=100)
    assert (len(limited.train), len(limited.valid)) == (100, 25)
    assert np.bincount(limited.train.labels).min() >= 9
