"""Hooks of capture: what they are, where they sit, and the logits in what they see."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Hook:
    """A hook that does nothing on a copy of its module."""

    def __init__(self, call: Callable) -> None:
        self._call = call

    def __call__(self, *seen: Any) -> None:
        """Pass on the module, its arguments and, after its forward pass, its output."""
        self._call(*seen)

    def __reduce__(self) -> tuple:
        return Hook, (_ignore,)


def _ignore(*seen: Any) -> None:
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


def in_backward() -> bool:
    """Whether this runs inside backward, as where activation checkpointing runs a pass again."""
    return torch._C._current_graph_task_id() != -1


def submodule(model: nn.Module, layer: str, side: str) -> nn.Module:
    """Find a submodule by its dotted name; a wrapper's prefix ``module.`` may be left out.

    Raises:
        ValueError: there is none; those that the model has are listed.
    """
    for name in (layer, f"module.{layer}"):
        try:
            return model.get_submodule(name)
        except AttributeError:
            continue
    raise ValueError(
        f"the {side} has no layer {layer!r}; it has: "
        + ", ".join(name for name, _ in model.named_children())
    )
