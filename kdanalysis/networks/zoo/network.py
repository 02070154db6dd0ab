"""What every reference network shares: stem, named blocks, global average pool, linear head."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

SMALLEST_SIDE = 8  # three halvings leave at least one pixel


class Network(nn.Module, ABC):
    """A classifier whose parts compose: ``forward = classify(blocks(stem(x)))``.

    ``block_names`` are submodule names, so hooks find them, and ``blocks`` are those modules in
    order, so that ``blocks[i:]`` followed by ``classify`` runs the network's tail alone. No part
    changes its input in place: what a hook saw stays what it was.
    """

    block_names: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """The linear classifier on the pooled features."""

    @abstractmethod
    def stem(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n d h w"]:
        """Return the input of the first block, at full resolution."""

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The modules named by ``block_names``, in the order they run."""
        return tuple(self.get_submodule(name) for name in self.block_names)

    def forward_features(
        self, images: Float[Tensor, "n channels h w"]
    ) -> Float[Tensor, "n d rows columns"]:
        """Return the last map before pooling; ValueError for images under 8 pixels a side."""
        if min(images.shape[-2:]) < SMALLEST_SIDE:
            height, width = images.shape[-2:]
            raise ValueError(
                f"the images are {height}x{width} pixels, but the network halves them three "
                f"times and needs at least {SMALLEST_SIDE} a side"
            )
        features = self.stem(images)
        for block in self.blocks:
            features = block(features)
        return features

    def classify(self, features: Float[Tensor, "n d rows columns"]) -> Float[Tensor, "n c"]:
        """Average a feature map over its positions and apply the head."""
        return self.head(features.mean((-2, -1)))

    def forward(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n c"]:
        """Return the logits."""
        return self.classify(self.forward_features(images))


def scale_convolutions(network: nn.Module) -> None:
    """Draw convolution weights from N(0, 2 / fan-out), in place (arXiv 1502.01852); zero biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
