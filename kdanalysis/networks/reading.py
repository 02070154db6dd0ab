"""How a head reads a map: from its average over the positions, or from a class token."""

from collections.abc import Callable
from math import isqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MAP, CHANNELS_LAST, TOKENS, CLASS_TOKEN = "map", "channels last", "tokens", "class token"


def tensor_of(value: Any) -> Tensor | None:
    """Return a tensor, or the first entry of a sequence where that is one."""
    first = value[0] if isinstance(value, tuple | list) and value else value
    return first if isinstance(first, Tensor) else None


def is_spatial(values: Tensor | None) -> bool:
    """Whether it has several positions: a map (n, d, h, w) or (n, h, w, d), or tokens (n, p, d)."""
    if values is None or not values.is_floating_point():
        return False
    return values.dim() == 3 or (values.dim() == 4 and values.shape[2:].numel() > 1)


@torch.no_grad()
def layout_of(
    values: Tensor, read: Float[Tensor, "n d"], grid: tuple[int, int] | None = None
) -> str | None:
    """Say how the features that a head read come from a map; None where they do not.

    Compared by value, since models pool by layers of their own, by functions or by hand. ``grid``
    is (h, w) of tokens, the largest square if None.
    """
    ways: dict[str, tuple[int, Callable[[], Tensor]]]
    if values.dim() == 4:
        ways = {
            MAP: (1, lambda: values.mean((2, 3))),
            CHANNELS_LAST: (3, lambda: values.mean((1, 2))),
        }
    else:
        count, (height, width) = values.shape[1], grid or (isqrt(values.shape[1]),) * 2
        front = max(0, count - height * width)
        ways = {CLASS_TOKEN: (2, lambda: values[:, 0])} if front else {}
        ways[TOKENS] = 2, lambda: values[:, front:].mean(1)
    if len(values) != len(read):
        return None
    for layout, (axis, average) in ways.items():
        if values.shape[axis] == read.shape[1] and agree(average(), read).all():
            return layout
    return None


@torch.no_grad()
def agree(one: Float[Tensor, "n d"], other: Float[Tensor, "n d"]) -> Tensor:
    """Return for which rows two results are the same, but for rounding of the batch's largest."""
    half = 2 in (one.element_size(), other.element_size())
    one, other = one.float(), other.float()
    bound = (2e-2 if half else 1e-4) * other.abs().max()
    return (one - other).abs().amax(-1) <= bound


def channels_of(head: nn.Module) -> int | None:
    """Return how many features a head takes, by its first layer; None where that is not known."""
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            return layer.in_features
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels
    return None


def works_at_positions(head: nn.Module) -> bool:
    """Whether a module that was given a map mixes its positions only by averaging them."""
    parts = (part for part in head.modules() if part._parameters)
    return all(
        isinstance(part, nn.Linear | nn.LayerNorm)
        or (isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1))
        for part in parts
    )
