"""Training and validation images under one normalisation."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.data.encoded import Encoded
from kdanalysis.data.images import Images, Pixels

IMAGES_SAMPLED = 4096  # images that the statistics of a set too large to hold are taken from


@dataclass(frozen=True)
class DataSplits:
    """A data set: class names, two sets of images, and the normalisation both use.

    ``mean`` and ``std`` are per channel over the training pixels, on the scale 0 to 1.
    """

    name: str
    classes: list[str]
    train: Images
    valid: Images
    mean: Float[Tensor, "3"]
    std: Float[Tensor, "3"]


def make_splits(
    name: str,
    classes: list[str],
    train: tuple[Pixels, Int[np.ndarray, " n"]],
    valid: tuple[Pixels, Int[np.ndarray, " m"]],
    *,
    mirror: bool,
) -> DataSplits:
    """Join pixels and labels, normalised by the statistics of the training pixels.

    Raises:
        ValueError: fewer than two classes, a class name that comes twice, an empty set, or a label
            that is no class.
    """
    _check_classes(name, classes)
    for part, (_, labels) in (("training", train), ("validation", valid)):
        _check_labels(f"the {part} set of {name}", labels, len(classes))
    if train[0].shape[1:] != valid[0].shape[1:]:
        sizes = [f"{pixels.shape[3]}x{pixels.shape[2]}" for pixels, _ in (train, valid)]
        raise ValueError(
            f"the training images of {name} are {sizes[0]} pixels and the validation images "
            f"{sizes[1]}: image_size=32, say, brings all to one"
        )
    mean, std = channel_statistics(train[0])
    return DataSplits(
        name=name,
        classes=classes,
        train=Images(*train, mean, std, mirror),
        valid=Images(*valid, mean, std, mirror),
        mean=mean,
        std=std,
    )


def channel_statistics(pixels: Pixels) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Mean and standard deviation of each channel over all pixels, on the scale 0 to 1.

    Sets too large to hold are measured on 4096 evenly spaced images. A constant channel gets the
    standard deviation 1: it is centred and left unscaled.
    """
    count = min(IMAGES_SAMPLED, len(pixels)) if isinstance(pixels, Encoded) else len(pixels)
    chosen = torch.linspace(0, len(pixels) - 1, count, dtype=torch.float64).round().long()
    histogram = torch.zeros(3, 256, dtype=torch.float64)  # exact, and one pass over the bytes
    for ids in chosen.split(1024):
        part = pixels[ids].transpose(0, 1).flatten(1)
        histogram += torch.stack([channel.bincount(minlength=256) for channel in part])
    share = histogram / histogram.sum(-1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    std = (share * (values - mean[:, None]) ** 2).sum(-1).sqrt()
    return mean.float(), std.where(std > 0, 1.0).float()


def _check_classes(name: str, classes: list[str]) -> None:
    if len(classes) < 2:
        raise ValueError(f"{name} has {len(classes)} class, but a classifier needs at least two")
    if twice := [label for label, count in Counter(classes).items() if count > 1]:
        raise ValueError(f"{name} has more than one class named {twice[0]!r}")


def _check_labels(name: str, labels: Int[np.ndarray, " n"], num_classes: int) -> None:
    if len(labels) == 0:
        raise ValueError(f"{name} holds no images")
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise ValueError(
            f"{name} has the label {labels[wrong[0]]} on image {wrong[0]}, but the labels of "
            f"{num_classes} classes are 0 to {num_classes - 1}"
        )
