"""Both sets share one normalisation, that of the training pixels; inconsistent sets are refused."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from kdanalysis.data.encoded import Encoded
from kdanalysis.data.splits import channel_statistics, make_splits

LABELS = np.array([0, 1, 1, 0])


def pixels(seed: int = 0, side: int = 8) -> torch.Tensor:
    random = np.random.default_rng(seed)
    levels = np.array([50, 150, 255])[:, None, None]
    return torch.from_numpy(random.integers(0, levels, (4, 3, side, side)).astype(np.uint8))


def png(array: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(array.transpose(1, 2, 0)).save(stream, "PNG")
    return stream.getvalue()


def test_statistics_agree_with_numpy():
    mean, std = channel_statistics(pixels())
    scaled = pixels().numpy().astype(float) / 255
    np.testing.assert_allclose(mean.numpy(), scaled.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std.numpy(), scaled.std((0, 2, 3)), rtol=1e-6)


def test_statistics_of_encoded_images_are_those_of_their_pixels():
    encoded = Encoded([png(image) for image in pixels().numpy()], list("abcd"), None)
    for found, expected in zip(
        channel_statistics(encoded), channel_statistics(pixels()), strict=True
    ):
        assert torch.equal(found, expected)


def test_a_constant_channel_is_centred_and_left_unscaled():
    constant = pixels()
    constant[:, 2] = 51
    mean, std = channel_statistics(constant)
    assert mean[2].item() == pytest.approx(0.2)
    assert std[2].item() == 1


def test_validation_is_normalised_by_the_training_statistics():
    splits = make_splits("set", ["a", "b"], (pixels(0), LABELS), (pixels(1), LABELS), mirror=True)
    x, _, _ = next(splits.valid.batches(4))
    mean, std = channel_statistics(pixels(0))
    expected = (pixels(1) / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(splits.mean, mean)
    assert torch.equal(splits.std, std)


@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (["a"], LABELS * 0, "set has 1 class, but a classifier needs at least two"),
        (["a", "a"], LABELS, "set has more than one class named 'a'"),
        (["a", "b"], LABELS + 1, "training set of set has the label 2 on image 1, .* 0 to 1"),
        (["a", "b"], LABELS - 1, "training set of set has the label -1 on image 0"),
        (["a", "b"], LABELS[:0], "the training set of set holds no images"),
    ],
)
def test_classes_and_labels_that_do_not_fit_are_refused(classes, labels, message):
    train = (pixels()[: len(labels)], labels)
    with pytest.raises(ValueError, match=message):
        make_splits("set", classes, train, (pixels(), LABELS * 0), mirror=True)


def test_two_image_sizes_are_refused():
    with pytest.raises(ValueError, match="are 8x8 pixels and the validation images 9x9"):
        make_splits("set", ["a", "b"], (pixels(), LABELS), (pixels(side=9), LABELS), mirror=True)
