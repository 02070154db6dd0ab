"""scikit-learn's handwritten digits."""

import numpy as np
import torch

from kdanalysis.data.pixels import resize
from kdanalysis.data.splits import DataSplits, make_splits
from kdanalysis.data.strata import choose


def load_digits(
    image_size: int | None = None, seed: int = 0, limit: int | None = None
) -> DataSplits:
    """1797 digits of 8x8 pixels, enlarged to 16x16 or ``image_size``, grey in three channels.

    A stratified fifth, drawn by ``seed``, is for validation. ``limit`` keeps that many training
    images, and a quarter as many for validation.
    """
    from sklearn import datasets  # costs a second

    digits = datasets.load_digits()
    labels = digits.target.astype(np.int64)
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    pixels = torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1).contiguous()
    pixels = resize(pixels, image_size or 16)
    train, valid = (
        (pixels[torch.from_numpy(chosen)], labels[chosen])
        for chosen in choose(labels, None, seed, limit)
    )
    classes = [str(digit) for digit in range(10)]
    return make_splits("digits", classes, train, valid, mirror=False)
