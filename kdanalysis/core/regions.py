"""Regions of an image: logits of the cells of a feature map at several scales, and the way back.

Every region is an average over positions of the map, so one matrix of averaging weights carries
all of scale decoupling (Wei et al., CVPR 2024, arXiv 2403.13512). With the features F (d, p) of a
sample, the weights A (r, p) and a linear head W (c, d), b:

    region logits = W F A^T + b          d loss / d F = W^T G A

G (c, r) is the loss's gradient in the region logits. Index legend: n samples, d channels,
p positions, c classes, r regions.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import isqrt
from typing import Any, SupportsIndex

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.core.arguments import fitted, typed

OFFICIAL = (1, 2, 4)
DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
SILENT = (*DROPOUT, nn.Flatten, nn.Identity)
NEEDS_MAP = (nn.Conv2d, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Flatten)


@typed
def region_logits(
    features: Float[Tensor, "n ..."],
    weight: Float[Tensor, "c d *ones"] | nn.Module,
    bias: Float[Tensor, " c"] | None = None,
    scales: Iterable[SupportsIndex] = (1, 2, 4),
    *,
    official_pooling: bool = False,
    class_token: str = "global",
    grid: tuple[int, int] | None = None,
) -> Float[Tensor, "n c r"]:
    """Apply a head at every position and average the logits over the cells of every scale.

    Region 0 is the global one; then follow the m x m cells of each scale m, row by row. Cells are
    those of ``adaptive_avg_pool2d``: where m does not divide the map they overlap. With a linear
    head the mean of a scale's cells is the global region on maps that the scale divides.

    Args:
        features: a map (n, d, h, w), or tokens (n, h*w, d) with any class token in front.
        weight: of a linear head (c, d) or of a 1x1 convolution (c, d, 1, 1); or a module: one of
            these layers (dropout around it is left out), or any module that gives (n, c) for
            features (n, d), which is applied at every position.
        bias: of the head; None has none, or goes with a module.
        scales: rising from 1, such as (1, 2, 4) for 21 regions.
        official_pooling: pool scales 1 and 2 from the 4x4 cells, as the published code does;
            equal on maps that 4 divides, else positions count unequally.
        class_token: "global" makes the class token the global region, as in a model whose head
            reads it; "drop" averages the other tokens, as for a model that does.
        grid: (h, w) of tokens; the square with at most one token in front if None, so needed for
            every other grid, such as 2x8, whose 16 tokens would be taken for 4x4.

    Raises:
        ValueError: a scale that exceeds the map, a head that does not fit it, or tokens that fill
            no grid.
    """
    average = averaging(features.shape, scales, official_pooling, class_token, grid)
    positions = features.flatten(2).mT if features.dim() == 4 else features
    linear = as_linear(weight, bias)
    if linear is None:
        logits = _at_positions(weight, positions)
        return (average.to(logits) @ logits).mT
    weight, bias = linear
    _check_fit(weight, positions.shape[-1])
    dtype = torch.promote_types(torch.promote_types(features.dtype, weight.dtype), torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        pooled = average.to(features.device, dtype) @ positions.to(dtype)
        bias = None if bias is None else bias.to(dtype)
        return F.linear(pooled, weight.to(dtype), bias).mT


@typed
def feature_gradients(
    gradients: Float[Tensor, "n c r"],
    weight: Float[Tensor, "c d *ones"] | nn.Module,
    shape: Sequence[int],
    scales: Iterable[SupportsIndex] = (1, 2, 4),
    **options: Any,
) -> Float[Tensor, "n ..."]:
    """Pull gradients in the region logits back through a linear head: W^T G A, closed form.

    Args:
        gradients: of a loss in the region logits, such as an entry of ``SDD.gradients``.
        weight: of the linear head or 1x1 convolution, or that layer.
        shape: of the features that ``region_logits`` was given, (n, d, h, w) or (n, p, d); its n
            does not count.
        scales: as for ``region_logits``.
        **options: likewise: official_pooling, class_token and grid.

    Raises:
        ValueError: as ``region_logits``, or a head that is not linear.
    """
    linear = as_linear(weight, None)
    if linear is None:
        raise ValueError(
            f"the head {type(weight).__name__} is not linear: its gradient in the features has no "
            f"closed form here"
        )
    average = averaging(shape, scales, **options).to(gradients)
    _check_fit(linear[0], shape[1] if len(shape) == 4 else shape[2])
    pulled = linear[0].to(gradients).mT @ (gradients @ average)
    return pulled.unflatten(2, shape[2:]) if len(shape) == 4 else pulled.mT


def averaging(
    shape: Sequence[int],
    scales: Iterable[SupportsIndex],
    official_pooling: bool = False,
    class_token: str = "global",
    grid: tuple[int, int] | None = None,
) -> Float[Tensor, "r p"]:
    """Return the weight of every position in every region, float64; rows sum to 1.

    Arguments and errors as for ``region_logits``, ``shape`` being that of the features.
    """
    scales = check_scales(scales)
    if class_token not in ("global", "drop"):
        raise ValueError(f"class_token is 'global' or 'drop', got {class_token!r}")
    if official_pooling and not set(scales) <= set(OFFICIAL):
        raise ValueError(f"official pooling knows the scales {OFFICIAL}, got {scales}")
    height, width, front = _layout(shape, grid)
    finest = 4 if official_pooling else scales[-1]
    if finest > min(height, width):
        raise ValueError(
            f"scale {finest} asks for {finest}x{finest} cells, but the map has only "
            f"{height}x{width} positions"
        )
    if official_pooling:
        cells = torch.cat([_cells(4, 4, m) for m in scales]) @ _cells(height, width, 4)
    else:
        cells = torch.cat([_cells(height, width, m) for m in scales])
    cells = F.pad(cells, (front, 0))
    if front and class_token == "global":
        cells[0] = F.one_hot(torch.tensor(0), cells.shape[1])
    return cells


def check_scales(scales: Any) -> tuple[int, ...]:
    """Return them as plain ints; a ValueError where they do not rise from 1."""
    found = tuple(fitted("scales", scales, Iterable[int]))
    if found[:1] != (1,) or any(b <= a for a, b in pairwise(found)):
        raise ValueError(f"scales must rise from 1, the whole image, got {found}")
    return found


def count_regions(scales: Iterable[int]) -> int:
    """Return the number of regions: the cells of all scales."""
    return sum(scale * scale for scale in scales)


def as_linear(
    head: Tensor | nn.Module, bias: Tensor | None = None
) -> tuple[Float[Tensor, "c d"], Float[Tensor, " c"] | None] | None:
    """Return weight and bias of a linear head; None for a module that is not linear.

    A linear layer or 1x1 convolution is one, also in a Sequential with nothing but dropout,
    flattening and identities around it. Subclasses are not: they may compute something else.
    """
    if isinstance(head, nn.Sequential):
        layers = [layer for layer in head if not isinstance(layer, SILENT)]
        head = layers[0] if len(layers) == 1 else head
    if type(head) is nn.Linear or _is_pointwise(head):
        head, bias = head.weight, head.bias
    if not isinstance(head, Tensor):
        return None
    if head.dim() < 2 or head.numel() != head.shape[0] * head.shape[1]:
        raise ValueError(f"a head's weight is (c, d) or (c, d, 1, 1), got {tuple(head.shape)}")
    return head.flatten(1), bias


def _is_pointwise(head: object) -> bool:
    """Whether it is a 1x1 convolution that gives every position from that position alone."""
    return type(head) is nn.Conv2d and (
        (head.kernel_size, head.stride, head.padding, head.groups) == ((1, 1), (1, 1), (0, 0), 1)
    )


def _layout(shape: Sequence[int], grid: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return height, width and the number of tokens in front."""
    if len(shape) == 4:
        return shape[2], shape[3], 0
    if len(shape) != 3:
        raise ValueError(
            f"features are a map (n, d, h, w) or tokens (n, h*w, d), got {tuple(shape)}"
        )
    count = shape[1]
    side = isqrt(count)
    height, width = (side, side) if grid is None else grid
    front = count - height * width
    if front < 0 or (grid is None and front > 1):
        raise ValueError(
            f"{count} tokens are no square grid, with or without a class token: give grid=(h, w)"
            if grid is None
            else f"a grid of {height}x{width} needs {height * width} tokens, got {count}"
        )
    return height, width, front


def _cells(height: int, width: int, scale: int) -> Float[Tensor, "cells p"]:
    """Averaging weights of scale x scale cells, those of adaptive average pooling."""
    return torch.kron(_windows(height, scale), _windows(width, scale))


def _windows(length: int, count: int) -> Float[Tensor, "count length"]:
    windows = torch.zeros(count, length, dtype=torch.float64)
    for i in range(count):
        start, stop = i * length // count, -(-(i + 1) * length // count)
        windows[i, start:stop] = 1 / (stop - start)
    return windows


def _check_fit(weight: Float[Tensor, "c d"], channels: int) -> None:
    if weight.shape[1] != channels:
        raise ValueError(
            f"the head takes {weight.shape[1]} features, the map has {channels} channels: it "
            f"cannot be applied at a position"
        )


def _at_positions(head: nn.Module, positions: Float[Tensor, "n p d"]) -> Float[Tensor, "n p c"]:
    flat = positions.flatten(0, 1)
    norms = (m for m in head.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    if any(norm.training for norm in norms):
        raise ValueError(
            f"the head {type(head).__name__} holds batch normalisation in training mode, whose "
            f"statistics would become those of positions instead of images"
        )
    as_map = any(isinstance(layer, NEEDS_MAP) for layer in head.modules())
    try:
        logits = head(flat[..., None, None] if as_map else flat).flatten(1)
    except RuntimeError as error:
        raise ValueError(
            f"the head {type(head).__name__} cannot be applied to the {flat.shape[1]} channels at "
            f"a position: {error}"
        ) from error
    return logits.unflatten(0, positions.shape[:2])
