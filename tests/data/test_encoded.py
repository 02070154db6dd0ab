"""Decoding: every mode to RGB bytes, resizing, large sets left encoded, bad images named."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from kdanalysis.data import encoded as module
from kdanalysis.data.encoded import Encoded, decode, hold

RAMP = np.arange(8 * 10, dtype=np.uint8).reshape(8, 10)


def encode(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def ramps(count: int = 5) -> list[bytes]:
    return [encode(Image.fromarray(RAMP + i)) for i in range(count)]


def test_indexing_decodes_like_a_tensor():
    images = Encoded(ramps(), list("abcde"), None)
    everything = hold(images)
    assert images.shape == (5, 3, 8, 10)
    for index in ([4, 0, 0], [2]):
        assert torch.equal(images[torch.tensor(index)], everything[torch.tensor(index)])
    assert (everything[3].numpy() == RAMP + 3).all()


def test_threads_change_nothing(monkeypatch):
    plain = Encoded(ramps(40), ["x"] * 40, None)
    monkeypatch.setattr(module, "BYTES_ALONE", 0)
    threaded = Encoded(ramps(40), ["x"] * 40, None)
    assert (plain.threaded, threaded.threaded) == (False, True)
    assert torch.equal(plain[torch.arange(40)], threaded[torch.arange(40)])


def test_sets_too_large_to_hold_stay_encoded(monkeypatch):
    images = Encoded(ramps(), list("abcde"), None)
    monkeypatch.setattr(module, "BYTES_HELD", 5 * 3 * 80)
    assert isinstance(hold(images), torch.Tensor)
    monkeypatch.setattr(module, "BYTES_HELD", 5 * 3 * 80 - 1)
    assert hold(images) is images


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(RAMP),
        Image.fromarray(np.stack([RAMP] * 3, -1)),
        Image.fromarray(np.stack([RAMP] * 3 + [np.full_like(RAMP, 9)], -1)),
        Image.fromarray(np.stack([RAMP, np.full_like(RAMP, 9)], -1)),
        Image.fromarray(RAMP.astype(np.uint16) * 256 + 77),
    ],
    ids=["grey", "rgb", "rgba", "grey-alpha", "16-bit"],
)
def test_every_mode_becomes_rgb(image):
    assert (decode(encode(image), "x", None) == RAMP).all()


def test_a_palette_with_transparency_becomes_rgb():
    image = Image.fromarray(RAMP).quantize(80)
    data = encode(image, transparency=bytes([0] * 80))
    assert (decode(data, "x", None) == np.asarray(image.convert("RGB")).transpose(2, 0, 1)).all()


def test_a_range_that_is_not_fixed_is_refused():
    data = encode(Image.fromarray(RAMP.astype(np.float32)), "TIFF")
    with pytest.raises(ValueError, match="x cannot be read as an image: its mode 'F' has no fixed"):
        decode(data, "x", None)


def test_resizing_keeps_the_centred_square():
    picture = np.zeros((8, 16), dtype=np.uint8)
    picture[:, 4:12] = 200  # the centred square, and black on both sides
    assert (decode(encode(Image.fromarray(picture)), "x", 8) == 200).all()
    assert decode(encode(Image.fromarray(picture)), "x", 12).shape == (3, 12, 12)


@pytest.mark.parametrize("threaded", [False, True])
def test_other_sizes_than_the_first_are_named(threaded):
    images = Encoded([*ramps(2), encode(Image.fromarray(RAMP.T.copy()))], list("abc"), None)
    images.threaded = threaded
    with pytest.raises(ValueError, match="c is 8x10 pixels but a is 10x8: image_size=32"):
        hold(images)


@pytest.mark.parametrize("data", [b"", b"no image", ramps(1)[0][:45]])
def test_what_is_no_image_is_named(data):
    with pytest.raises(ValueError, match=r"row 3 of file cannot be read as an image"):
        decode(data, "row 3 of file", None)
