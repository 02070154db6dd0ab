"""Residual networks for small images, in the widths of the distillation literature."""

from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.networks.zoo.network import Network, scale_convolutions


class PaddedShortcut(nn.Module):
    """A shortcut without parameters: every second pixel, zero channels on both sides."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.before = stride, (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Float[Tensor, "n d h w"]) -> Float[Tensor, "n e rows columns"]:
        """Thin out the pixels, then add channels of zeros."""
        return F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut.

    Where the shapes differ the shortcut is a 1x1 convolution, or ``padded``, without parameters.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, padded: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride == 1 and inputs == outputs:
            return
        if padded:
            self.downsample = PaddedShortcut(inputs, outputs, stride)
        else:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Float[Tensor, "n d h w"]) -> Float[Tensor, "n e rows columns"]:
        """Return relu(shortcut(x) + residual(x))."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + self.downsample(x))


class ResNet(Network):
    """ResNet of ``depth`` = 6 m + 2 layers for small images: three stages of m basic blocks.

    Section 4.2 of He et al. (arXiv 1512.03385) with projection shortcuts, or ``padded`` ones, its
    option A, which have no parameters; ``widths`` are the channels of the stem and of the three
    stages, (16, 16, 32, 64) or, for the "x4" networks of the distillation literature (CRD, arXiv
    1910.10699), (32, 64, 128, 256).

    Names in ``state_dict``: conv1, bn1, layer1.I, layer2.I, layer3.I (conv1, bn1, conv2, bn2,
    downsample.0, downsample.1) and fc, as in published checkpoints of these networks.
    """

    block_names: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(
        self,
        depth: int,
        widths: tuple[int, int, int, int],
        num_classes: int,
        in_channels: int = 3,
        padded: bool = False,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth {depth} does not fit: a residual network has 6 m + 2 layers")
        count = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = stage(widths[0], widths[1], count, 1, padded)
        self.layer2 = stage(widths[1], widths[2], count, 2, padded)
        self.layer3 = stage(widths[2], widths[3], count, 2, padded)
        self.fc = nn.Linear(widths[3], num_classes)
        scale_convolutions(self)

    @property
    def head(self) -> nn.Linear:
        """The linear classifier, ``fc`` in the state dict."""
        return self.fc

    def stem(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n d h w"]:
        """Convolution, norm, relu."""
        return F.relu(self.bn1(self.conv1(images)))


def stage(inputs: int, outputs: int, count: int, stride: int, padded: bool) -> nn.Sequential:
    """Chain ``count`` basic blocks; the first changes width and resolution."""
    first = BasicBlock(inputs, outputs, stride, padded)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(count - 1)))
