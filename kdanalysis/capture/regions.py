"""RegionTap: hooks that take the last spatial map and the head of a model, without surgery."""

import warnings
from types import TracebackType
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kdanalysis.capture.features import FeatureMap, named_layout
from kdanalysis.core.regions import DROPOUT
from kdanalysis.networks.hook import Hook, in_backward, logits_of
from kdanalysis.networks.reading import is_spatial, tensor_of
from kdanalysis.networks.search import Search
from kdanalysis.networks.site import check_inside, submodule


class RegionTap:
    """The regions of a model's last forward pass, for any convolutional network or ViT.

        with RegionTap(model) as tap:
            model(images)
            regions = tap.take().regions((1, 2, 4))  # (n, c, 21)

    What is not named is found in the first forward pass: the last map whose average over the
    positions (or class token) is what the head reads. Dropout or a norm between the two hides
    them, unless they are modules in one Sequential with the head: name both then, or make the
    first pass in evaluation mode.

    Args:
        model: the model.
        layer: dotted name of the layer that gives the map or, as a pooling layer, takes it.
        head: dotted name of the layer that gives the logits from the average of the map.
        logits_layer: dotted name of the submodule that gives the logits; the model itself if "".
        side: what the model is called in messages.
        grid: (h, w) of tokens, where they are not the largest square (2x8 tokens would be taken
            for 4x4) with at most one token in front.

    Raises:
        ValueError: the model has no layer of a given name; in its forward pass, no spatial map or
            no head that reads it was found.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str = "",
        head: str = "",
        *,
        logits_layer: str = "",
        side: str = "model",
        grid: tuple[int, int] | None = None,
    ) -> None:
        self._side, self._grid = side, grid
        check_inside(model, side)
        self._layer = submodule(model, layer, side) if layer else None
        self._head = submodule(model, head, side) if head else None
        end = submodule(model, logits_layer, side)
        self._layout: str | None = None
        self._checked = False
        self._comes_out: bool | None = None
        self._search: Search | None = None
        self._handles: list[RemovableHandle] = []
        self._values: Tensor | None = None
        self._last: FeatureMap | None = None
        if layer and head:
            self._handles.append(self._layer.register_forward_hook(Hook(self._keep)))
        else:
            self._search = Search(model, self._layer, self._head, grid)
        self._handles.append(end.register_forward_hook(Hook(self._finish)))

    def take(self) -> FeatureMap:
        """Return map, head and logits of the last forward pass, and forget them.

        Raises:
            RuntimeError: there was no forward pass since the last call.
        """
        last, self._last = self._last, None
        if last is None:
            raise RuntimeError(
                f"no forward pass of the {self._side} was seen since its regions were last taken"
            )
        return last

    def remove(self) -> None:
        """Take all hooks off; a second time is harmless."""
        for handle in self._handles:
            handle.remove()
        if self._search is not None:
            self._search.remove()
        self._values = self._last = None

    def __enter__(self) -> "RegionTap":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def _keep(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        """Keep the map where it was found; of a named layer the one it gives, or else takes."""
        if in_backward():
            return
        sides = {None: (output, arguments), True: (output,), False: (arguments,)}[self._comes_out]
        seen = [x for x in map(tensor_of, sides) if x is not None]
        self._values = next(filter(is_spatial, seen), None)
        if self._values is None:
            shapes = " and ".join(str(tuple(x.shape)) for x in seen)
            raise ValueError(
                f"the {self._side}'s layer that was named for its map has none of shape "
                f"(n, d, h, w) or (n, h*w, d): it has {shapes or type(output).__name__}"
            )

    def _finish(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        if in_backward():
            return
        logits, values = logits_of(output, self._side), self._values
        self._values = None
        if self._search is not None:
            values = self._settle(logits)
        if values is None:
            raise ValueError(f"the {self._side} gave logits without running the layer of its map")
        layout = self._layout or named_layout(values, self._head)
        self._last = FeatureMap(values, logits, self._head, layout, self._grid)
        if not self._checked:
            self._check(self._last)
        self._layout, self._checked = layout, True

    def _check(self, first: FeatureMap) -> None:
        """Warn where a linear head on the average of the map does not give the first logits."""
        drops = any(isinstance(m, DROPOUT) and m.training for m in self._head.modules())
        try:
            fits = drops or not first.linear or first.explains().all()
        except ValueError:
            if self._layout is None:
                raise
            return  # it is said where regions are asked for
        if fits:
            return
        warnings.warn(
            f"the {self._side}'s head on the average of its map does not give its logits: if the "
            f"layers are named, others may be meant, unless dropout or another pooling lies "
            f"between them; if not, a hook changes what the head gives, and the regions lack that",
            RuntimeWarning,
            stacklevel=2,
        )

    def _settle(self, logits: Float[Tensor, "n c"]) -> Tensor:
        """End the search: one hook stays, where the map is."""
        found = self._search.found(logits)
        self._search.forget()
        if found is None:
            raise ValueError(
                f"no spatial map of the {self._side} was found whose average over the positions, "
                f"or class token, is what the head reads: name the layer that gives the map and "
                f"the head"
            )
        self._search.remove()
        self._search, self._head, self._layout = None, found.head, found.layout
        layer, self._comes_out = found.seen.place()
        self._handles.append(layer.register_forward_hook(Hook(self._keep)))
        return found.seen.values
