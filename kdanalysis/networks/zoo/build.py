"""Reference networks by name."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

from kdanalysis.networks.zoo.network import Network
from kdanalysis.networks.zoo.resnet import ResNet
from kdanalysis.networks.zoo.vgg import VGG

NARROW, WIDE = (16, 16, 32, 64), (32, 64, 128, 256)

BUILDERS: dict[str, Callable[..., Network]] = {
    **{f"resnet{depth}": partial(ResNet, depth, NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{
        f"resnet{depth}a": partial(ResNet, depth, NARROW, padded=True)
        for depth in (20, 32, 44, 56, 110)
    },
    **{f"resnet{depth}x4": partial(ResNet, depth, WIDE) for depth in (8, 32)},
    "vgg8": partial(VGG, 1),
    "vgg13": partial(VGG, 2),
}

MODELS: tuple[str, ...] = tuple(BUILDERS)


def check_model(name: str) -> None:
    """Raise a ValueError that names the nearest networks where there is none of this name."""
    if name not in BUILDERS:
        near = get_close_matches(name.lower(), MODELS, n=3, cutoff=0.5) or MODELS
        raise ValueError(f"there is no model {name!r}: the nearest names are {', '.join(near)}")


def build_model(name: str, num_classes: int, in_channels: int = 3) -> Network:
    """Build a network of ``MODELS`` with fresh weights from torch's global generator.

    Raises:
        ValueError: as ``check_model``, or a count is not positive.
    """
    check_model(name)
    if num_classes < 1 or in_channels < 1:
        raise ValueError(
            f"{name} needs at least one class and one input channel, "
            f"got {num_classes} classes and {in_channels} channels"
        )
    return BUILDERS[name](num_classes=num_classes, in_channels=in_channels)
