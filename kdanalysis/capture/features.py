"""The feature map of one forward pass, the head that reads it, and the regions they give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kdanalysis.core.regions import as_linear, feature_gradients, region_logits
from kdanalysis.networks.hook import muted
from kdanalysis.networks.reading import CHANNELS_LAST, CLASS_TOKEN, MAP, agree, channels_of


@dataclass(frozen=True)
class Pull:
    """Brings gradients in region logits to a feature map, through a copy of a linear head."""

    weight: Float[Tensor, "c d"]
    shape: tuple[int, ...]
    scales: tuple[int, ...]
    options: dict[str, Any]

    def __call__(self, gradients: Float[Tensor, "n c r"]) -> Float[Tensor, "n entries"]:
        """Return the closed-form gradient in the map, a sample's entries in a row."""
        pulled = feature_gradients(gradients, self.weight, self.shape, self.scales, **self.options)
        return pulled.flatten(1)


@dataclass(frozen=True)
class FeatureMap:
    """What a model computed in one forward pass: its last spatial map and its logits.

    Args:
        values: the map as the model holds it, part of the graph.
        logits: the model's own.
        head: gives the logits from the map, by its average or by a class token.
        layout: of the values; see ``reading``.
        grid: (h, w) of tokens; the largest square if None.
    """

    values: Tensor
    logits: Float[Tensor, "n c"]
    head: nn.Module
    layout: str
    grid: tuple[int, int] | None = None

    @property
    def linear(self) -> bool:
        """Whether the head is linear, so that gradients in the map are closed form."""
        return as_linear(self.head) is not None

    def regions(self, scales: Sequence[int]) -> Float[Tensor, "n c r"]:
        """Return the region logits; the global region is the model's own logits.

        So whatever lies between map and logits (a class token, dropout, another pooling) counts
        in the global region as the model has it.

        Raises:
            ValueError: a scale exceeds the map, or the head does not fit it.
        """
        cells = self._regions(scales)[..., 1:]
        if cells.shape[1] != self.logits.shape[1]:
            raise ValueError(
                f"the head gives {cells.shape[1]} logits at a position, the model gives "
                f"{self.logits.shape[1]}: another layer is its head"
            )
        return torch.cat((self.logits.unsqueeze(-1), cells), -1)

    @torch.no_grad()
    def explains(self) -> Bool[Tensor, " n"]:
        """Return for which samples head and map give the model's logits, but for rounding."""
        return agree(self._regions((1,))[..., 0], self.logits)

    def pull(self, scales: Sequence[int]) -> Pull:
        """Return what brings gradients in the region logits to the map; holds no graph."""
        weight, _ = as_linear(self.head)
        shape = self._positions(self.values).shape
        return Pull(weight.detach().clone(), tuple(shape), tuple(scales), self._options())

    def _regions(self, scales: Sequence[int]) -> Float[Tensor, "n c r"]:
        values = self._positions(self.values)
        if any(hasattr(p, "device_mesh") for p in self.head.parameters()):
            raise ValueError(
                "its head is sharded apart from the model, so that its weights are not there after "
                "the forward pass: leave it to the fully_shard call on the whole model"
            )
        with muted():
            return region_logits(values, self.head, None, scales, **self._options())

    def _positions(self, values: Tensor) -> Tensor:
        return values.flatten(1, 2) if self.layout == CHANNELS_LAST else values

    def _options(self) -> dict[str, Any]:
        if self.layout == MAP:
            return {}
        grid = tuple(self.values.shape[1:3]) if self.layout == CHANNELS_LAST else self.grid
        return {"class_token": "global" if self.layout == CLASS_TOKEN else "drop", "grid": grid}


def named_layout(values: Tensor, head: nn.Module) -> str:
    """Say how the values of a layer that was named are laid out, by the width of its head."""
    if values.dim() == 3:
        return CLASS_TOKEN
    channels = channels_of(head)
    last = channels == values.shape[3] and channels != values.shape[1]
    return CHANNELS_LAST if last else MAP
