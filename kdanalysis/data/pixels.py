"""Images that are already bytes, many at once: another size, random crops, mirrored."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, UInt8
from torch import Tensor


def resize(
    pixels: UInt8[Tensor, "n channels h w"], image_size: int | None
) -> UInt8[Tensor, "n channels rows columns"]:
    """Resize to ``image_size`` squared, bilinear and smoothed where it shrinks; None: unchanged."""
    if image_size is None or pixels.shape[2:] == (image_size, image_size):
        return pixels
    size = (image_size, image_size)
    return F.interpolate(pixels, size, mode="bilinear", antialias=True)


def crop_and_flip(
    pixels: UInt8[Tensor, "b channels h w"], shift: Int[Tensor, "b 2"], flip: Bool[Tensor, " b"]
) -> UInt8[Tensor, "b channels h w"]:
    """Move each window by ``shift`` (rows, columns), then mirror it left to right where asked.

    Beyond its border an image continues mirrored without repeating the edge (torch's "reflect"
    padding), so the shift must stay below the side.
    """
    batch, channels, height, width = pixels.shape
    rows = _reflect(torch.arange(height) + shift[:, :1], height)
    columns = _reflect(torch.arange(width) + shift[:, 1:], width)
    columns = torch.where(flip[:, None], columns.flip(-1), columns)
    source = (rows[:, :, None] * width + columns[:, None, :]).reshape(batch, 1, -1)
    taken = pixels.flatten(2).gather(2, source.expand(-1, channels, -1))
    return taken.view(batch, channels, height, width)


def _reflect(index: Int[Tensor, "b side"], side: int) -> Int[Tensor, "b side"]:
    return side - 1 - (side - 1 - index.abs()).abs()
