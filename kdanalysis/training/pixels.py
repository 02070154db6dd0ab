"""Networks that see pixels by another normalisation than that of the data."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.data import DataSplits


class Renormalise(nn.Module):
    """A hook before a layer: takes one normalisation off its input and puts another on.

    From (x - m) / s it makes (x - mean) / std = input * s / std + (m - mean) / std.
    """

    def __init__(self, data: DataSplits, mean: Float[Tensor, "3"], std: Float[Tensor, "3"]) -> None:
        super().__init__()
        factor, shift = data.std / std, (data.mean - mean) / std
        self.register_buffer("factor", factor.view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)

    def forward(self, layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Return what the layer is to see; padding comes after, so that it stays 0."""
        return (inputs[0] * self.factor + self.shift,)


def renormalise(
    model: nn.Module, data: DataSplits, mean: Float[Tensor, "3"], std: Float[Tensor, "3"]
) -> None:
    """Let a network take the data's images though it was trained with this mean and std.

    Its weights and their names stay as they are, so that a checkpoint of it is the same.
    """
    if torch.equal(mean, data.mean) and torch.equal(std, data.std):
        return
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    model.renormalise = Renormalise(data, mean, std)
    first.register_forward_pre_hook(model.renormalise)
