"""The search for a model's last spatial map and for the head that reads it, in a forward pass."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kdanalysis.core.regions import as_linear
from kdanalysis.networks.hook import Hook, in_backward
from kdanalysis.networks.reading import (
    MAP,
    agree,
    channels_of,
    is_spatial,
    layout_of,
    tensor_of,
    works_at_positions,
)

RECENT = 8  # the head follows its map closely; older maps are let go, and their memory with them


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
