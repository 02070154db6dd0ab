"""VGG networks with batch norm for small images."""

from collections import OrderedDict
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.networks.zoo.network import Network, scale_convolutions

WIDTHS = (64, 128, 256, 512, 512)


class VGG(Network):
    """Five groups of 3x3 convolutions (arXiv 1409.1556) with batch norm and a linear head.

    ``repeats`` is the number of convolutions in each group: 1 for VGG8, 2 for VGG13. Groups 1, 2
    and 3 begin with a 2x2 max pool, so that the last map is an eighth of the input at every size
    (CRD's and mdistiller's networks pool once more when the input is exactly 64 pixels high).

    Names in ``state_dict``: block0 to block4, each with convolution 3 j and norm 3 j + 1, and
    classifier, as in published checkpoints of these networks. block0 is the stem.
    """

    block_names: ClassVar[tuple[str, ...]] = ("block1", "block2", "block3", "block4")

    def __init__(self, repeats: int, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.block0 = group(in_channels, WIDTHS[0], repeats, pool=False)
        self.block1 = group(WIDTHS[0], WIDTHS[1], repeats, pool=True)
        self.block2 = group(WIDTHS[1], WIDTHS[2], repeats, pool=True)
        self.block3 = group(WIDTHS[2], WIDTHS[3], repeats, pool=True)
        self.block4 = group(WIDTHS[3], WIDTHS[4], repeats, pool=False)
        self.classifier = nn.Linear(WIDTHS[4], num_classes)
        scale_convolutions(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    @property
    def head(self) -> nn.Linear:
        """The linear classifier, ``classifier`` in the state dict."""
        return self.classifier

    def stem(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n d h w"]:
        """Return the first group's map."""
        return self.block0(images)


def group(inputs: int, outputs: int, repeats: int, pool: bool) -> nn.Sequential:
    """Optional 2x2 max pool, then ``repeats`` times convolution, norm, relu."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if pool:
        layers["pool"] = nn.MaxPool2d(2)  # named, so that the convolutions keep numbers from 0
    for index in range(repeats):
        layers[str(3 * index)] = nn.Conv2d(outputs if index else inputs, outputs, 3, padding=1)
        layers[str(3 * index + 1)] = nn.BatchNorm2d(outputs)
        layers[str(3 * index + 2)] = nn.ReLU()
    return nn.Sequential(layers)
