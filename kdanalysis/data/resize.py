"""Images that are already bytes, brought to another size."""

import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor


def resize(
    pixels: UInt8[Tensor, "n channels h w"], image_size: int | None
) -> UInt8[Tensor, "n channels rows columns"]:
    """Resize to ``image_size`` squared, bilinear and smoothed where it shrinks; None: unchanged."""
    if image_size is None or pixels.shape[2:] == (image_size, image_size):
        return pixels
    size = (image_size, image_size)
    return F.interpolate(pixels, size, mode="bilinear", antialias=True)
