"""A model's last spatial map and the head that reads it: how maps lie, and the search for both."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kdanalysis.core.regions import as_linear
from kdanalysis.networks.hook import Hook, in_backward

MAP, CHANNELS_LAST, TOKENS, CLASS_TOKEN = "map", "channels last", "tokens", "class token"
RECENT = 8  # the head follows its map closely; older maps are let go, and their memory with them


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


def named_layout(values: Tensor, head: nn.Module) -> str:
    """Say how the values of a layer that was named are laid out, by the width of its head."""
    if values.dim() == 3:
        return CLASS_TOKEN
    channels = channels_of(head)
    last = channels == values.shape[3] and channels != values.shape[1]
    return CHANNELS_LAST if last else MAP


def works_at_positions(head: nn.Module) -> bool:
    """Whether a module that was given a map mixes its positions only by averaging them."""
    parts = (part for part in head.modules() if part._parameters)
    return all(
        isinstance(part, nn.Linear | nn.LayerNorm)
        or (isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1))
        for part in parts
    )


@dataclass(eq=False)
class Passing:
    """A map that passed by, and the places where it did: a module, and whether it came out."""

    values: Tensor
    places: list[tuple[nn.Module, bool]] = field(default_factory=list)

    def place(self) -> tuple[nn.Module, bool]:
        """Return the last module that gave it, or else the last that took it."""
        return ([place for place in self.places if place[1]] or self.places)[-1]


@dataclass(frozen=True)
class Found:
    """A head, the map it reads, where to hook that map, and how the map is laid out."""

    head: nn.Module
    seen: Passing
    layout: str


class Search:
    """Watches every module of a model until it knows the map and the head.

    The head is the module whose output is the logits and whose input is the average of a map that
    was seen before, its class token, or the map itself. Of several the innermost linear one
    counts.

    Args:
        model: hooks are put on all of its modules; it is not its own head.
        layer: consider only maps that this module gives or takes.
        head: consider only this module.
        grid: (h, w) of tokens.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: nn.Module | None = None,
        head: nn.Module | None = None,
        grid: tuple[int, int] | None = None,
    ) -> None:
        self._layer, self._head, self._grid = layer, head, grid
        self._handles: list[RemovableHandle] = []
        self.forget()
        for module in model.modules():
            if module is not model:
                self._handles.append(module.register_forward_pre_hook(Hook(self._enter)))
                self._handles.append(module.register_forward_hook(Hook(self._leave)))

    def found(self, logits: Float[Tensor, "n c"]) -> Found | None:
        """Return the head whose output these logits are, with its map; None where none is."""
        fits = [found for found, output in self._ends if _same(output, logits)]
        linear = [found for found in fits if as_linear(found.head)]
        if fits:
            return (linear or fits)[0]
        direct = self._match(logits) if self._head is None else None  # a logit map's average
        return None if direct is None else Found(nn.Identity(), *direct)

    def forget(self) -> None:
        """Let go what was seen."""
        self._maps: deque[Passing] = deque(maxlen=RECENT)
        self._read: dict[nn.Module, tuple[Passing, str]] = {}
        self._ends: list[tuple[Found, Tensor]] = []

    def remove(self) -> None:
        """Take all hooks off; a second time is harmless."""
        for handle in self._handles:
            handle.remove()
        self.forget()

    def _enter(self, module: nn.Module, arguments: tuple) -> None:
        if in_backward():
            return
        values = tensor_of(arguments)
        self._note(values, module, False)
        if values is None or self._head not in (None, module):
            return
        if is_spatial(values):
            seen, channels = self._find(values), channels_of(module)
            fits = values.dim() == 4 and channels in (None, values.shape[1])
            if fits and seen is not None and works_at_positions(module):
                self._read[module] = seen, MAP
        elif values.dim() in (2, 4) and (match := self._match(values.flatten(1))):
            self._read[module] = match

    def _leave(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        if in_backward():
            return
        values = tensor_of(output)
        self._note(values, module, True)
        read = self._read.pop(module, None)
        if read is not None and values is not None:
            self._ends.append((Found(module, *read), values.detach()))

    def _note(self, values: Tensor | None, module: nn.Module, came_out: bool) -> None:
        if not is_spatial(values) or self._layer not in (None, module):
            return
        seen = self._find(values)
        if seen is None:
            seen = Passing(values)
            self._maps.append(seen)
        seen.places.append((module, came_out))

    def _find(self, values: Tensor) -> Passing | None:
        return next((seen for seen in self._maps if seen.values is values), None)

    def _match(self, read: Float[Tensor, "n d"]) -> tuple[Passing, str] | None:
        for seen in reversed(self._maps):
            if layout := layout_of(seen.values, read, self._grid):
                return seen, layout
        return None


def _same(output: Tensor, logits: Float[Tensor, "n c"]) -> bool:
    flat = output.flatten(1) if output.dim() > 1 else output
    return flat.shape == logits.shape and bool(agree(flat, logits).all())
