"""Forward hooks that keep the logits a module last gave."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Side = tuple[Tensor, Tensor | None]  # logits, and the copy of them made in the forward pass


class Tap:
    """Holds the logits of the last forward pass of a model, or of a layer inside it.

    A pass that builds a graph is the training pass: one in validation does not take its place,
    and two of them in one step are an error, because only one of them can be recorded.

    Args:
        model: the model; the hook sits on it or on ``layer``.
        layer: dotted name of the submodule that gives the logits, "" for the model itself. A
            wrapper's prefix ``module.`` may be left out.
        side: "student" or "teacher", for messages.
        copies: asked at every forward pass whether to keep a copy as well, made before anything
            later can overwrite the logits in place.
    """

    def __init__(self, model: nn.Module, layer: str, side: str, copies: Callable[[], bool]) -> None:
        self.side, self._copies = side, copies
        self._last: tuple[Tensor, Tensor | None] | None = None
        self._graphs = 0
        self._handle = _submodule(model, layer, side).register_forward_hook(Hook(self._keep))

    def take(self) -> Side:
        """Return logits and copy of the last forward pass, and forget them.

        Raises:
            RuntimeError: there was no forward pass since the last call, or two that train.
        """
        last, graphs = self._last, self._graphs
        self._last, self._graphs = None, 0
        if last is None:
            raise RuntimeError(
                f"no forward pass of the {self.side} was seen since the last step: run it before "
                f"every call of the recorder, and attach the recorder before torch.compile"
            )
        if graphs > 1:
            raise RuntimeError(
                f"the {self.side} ran {graphs} training passes in one step: call the recorder once "
                f"for each, or give it the logits to record with {self.side}=..."
            )
        return last

    def remove(self) -> None:
        """Take the hook off and let the logits go; a second time is harmless."""
        self._handle.remove()
        self._last, self._graphs = None, 0

    def _keep(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        if torch._C._current_graph_task_id() != -1:
            return  # inside backward: activation checkpointing runs the forward pass again
        logits = logits_of(output, self.side)
        if logits.requires_grad:
            self._graphs += 1
        elif self._graphs:
            return
        self._last = logits, logits.detach().clone() if self._copies() else None


class Taps:
    """The taps of a recorder: one on each side whose model it was given.

    Args:
        copies: as for ``Tap``.
    """

    def __init__(self, copies: Callable[[], bool]) -> None:
        self.copies = copies
        self._taps: dict[str, Any] = {}

    def attach(self, model: nn.Module | None, layer: str, side: str) -> None:
        """Put a tap on the model; after an error none is left on either side."""
        if model is None:
            return
        try:
            self._taps[side] = Tap(model, layer, side, self.copies)
        except BaseException:
            self.remove()
            raise

    def hold(self, name: str, other: Any) -> None:
        """Take the hooks of something else off together with the taps, by its ``remove``."""
        self._taps[name] = other

    def take(self, side: str, given: Tensor | None) -> Side:
        """Return the given logits, or those of the last forward pass with their copy.

        Raises:
            RuntimeError: no model on this side and no logits given, or as ``Tap.take``.
        """
        if given is not None:
            return given, None
        if side not in self._taps:
            raise RuntimeError(f"the recorder has no {side}: pass the model or its logits")
        return self._taps[side].take()

    def remove(self) -> None:
        """Take all hooks off; a second time is harmless."""
        for tap in self._taps.values():
            tap.remove()


class Hook:
    """A hook that does nothing on a copy of its module."""

    def __init__(self, call: Callable) -> None:
        self._call = call

    def __call__(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        """Pass on what the forward pass gave."""
        self._call(module, arguments, output)

    def __reduce__(self) -> tuple:
        return Hook, (_ignore,)


def _ignore(module: nn.Module, arguments: tuple, output: Any) -> None:
    """Stand in for a hook on a copied module."""


def logits_of(output: Any, side: str = "model") -> Tensor:
    """Find the logits in a model's output: a tensor, a sequence, a mapping, or ``.logits``.

    Of a sequence the first entry counts, of a mapping the entry "logits".

    Raises:
        ValueError: none of these, or the logits are not of shape (n, c) with c at least 2.
    """
    found = output
    if isinstance(output, Mapping) and "logits" in output:
        found = output["logits"]
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, Sequence) and len(output):
        found = output[0]
    if not isinstance(found, Tensor) or found.dim() != 2 or found.shape[-1] < 2:
        shape = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found)
        raise ValueError(
            f"the {side}'s output has no logits of shape (n, c), c >= 2: got {shape}; name the "
            f"layer that gives them"
        )
    return found


def _submodule(model: nn.Module, layer: str, side: str) -> nn.Module:
    for name in (layer, f"module.{layer}"):
        try:
            return model.get_submodule(name)
        except AttributeError:
            continue
    raise ValueError(
        f"the {side} has no layer {layer!r}; it has: "
        + ", ".join(name for name, _ in model.named_children())
    )
