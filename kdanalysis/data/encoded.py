"""Images kept as files or encoded bytes and decoded when they are asked for."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps
from torch import Tensor

BYTES_ALONE = 8192  # encoded images up to this size are decoded in one thread
BYTES_HELD = 2**30  # sets that decode to more than this are decoded batch by batch


FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")  # asking for few is quicker


class Encoded:
    """A sequence of encoded images that decodes like a tensor is indexed.

    ``encoded[index]`` gives ``uint8 (b, 3, h, w)``. Large images are decoded in threads; on
    small ones threads wait for each other longer than they decode. With an ``image_size`` every
    image is cropped to the centred square and resized; without one all must have the size of the
    first.

    Args:
        sources: a path or the encoded bytes of each image.
        names: what an error calls each image.
        image_size: side in pixels, or None to keep the size.
    """

    def __init__(
        self, sources: Sequence[Path | bytes], names: Sequence[str], image_size: int | None
    ) -> None:
        self.sources, self.names, self.image_size = sources, names, image_size
        first = decode(sources[0], names[0], image_size)
        self.shape = (len(sources), *first.shape)
        one = sources[0]
        size = len(one) if isinstance(one, bytes) else one.stat().st_size
        self.threaded = size > BYTES_ALONE

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: Int[Tensor, " b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Decode the images at ``index``; ValueError names the first that cannot be read."""
        out = np.empty((len(index), *self.shape[1:]), dtype=np.uint8)
        places = list(enumerate(index.tolist()))
        if not self.threaded:
            self._fill(out, places)
            return torch.from_numpy(out)
        parts = [places[start : start + 16] for start in range(0, len(places), 16)]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(partial(self._fill, out), parts):
                pass  # raises what a thread raised
        return torch.from_numpy(out)

    def _fill(self, out: UInt8[np.ndarray, "b 3 h w"], part: Sequence[tuple[int, int]]) -> None:
        for place, i in part:
            pixels = decode(self.sources[i], self.names[i], self.image_size)
            if pixels.shape != out.shape[1:]:
                raise ValueError(
                    f"{self.names[i]} is {_size(pixels)} pixels but {self.names[0]} is "
                    f"{_size(out[0])}: image_size=32, say, brings all to one"
                )
            out[place] = pixels


def hold(encoded: Encoded) -> UInt8[Tensor, "n 3 h w"] | Encoded:
    """Decode everything now where it fits into ``BYTES_HELD``, else leave it encoded."""
    if np.prod(encoded.shape, dtype=np.int64) > BYTES_HELD:
        return encoded
    return encoded[torch.arange(len(encoded))]


def decode(source: Path | bytes, name: str, image_size: int | None) -> UInt8[np.ndarray, "3 h w"]:
    """Decode one image to RGB; transparency is dropped, 16-bit greys keep their high byte.

    Raises:
        ValueError: the image cannot be read, naming it.
    """
    try:
        stream = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(stream, formats=FORMATS) as image:
            image = _rgb(image)
    except Exception as error:  # pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise ValueError(f"{name} cannot be read as an image: {error}") from error
    if image_size is not None and image.size != (image_size, image_size):
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its mode {image.mode!r} has no fixed range to reduce to 8 bits")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _size(pixels: UInt8[np.ndarray, "3 h w"]) -> str:
    return f"{pixels.shape[2]}x{pixels.shape[1]}"
