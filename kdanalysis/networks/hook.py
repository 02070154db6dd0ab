"""Hooks of capture: what they are, and the logits in what they see."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from kdanalysis.core.wording import PICKED

MUTED = ContextVar("muted", default=False)
IN_PYTHON = "what a hook of kdanalysis sees depends on the step, so it runs as plain Python"


def in_python(call: Callable) -> Callable:
    """Return a function that torch.compile leaves as it is."""
    return torch.compiler.disable(call, reason=IN_PYTHON)


class Hook:
    """A hook that does nothing on a copy of its module, and that torch.compile leaves as it is."""

    def __init__(self, call: Callable) -> None:
        self._call = in_python(_unless_muted(call))

    def __call__(self, *seen: Any) -> None:
        """Pass on the module, its arguments and, after its forward pass, its output."""
        self._call(*seen)

    def __reduce__(self) -> tuple:
        return Hook, (_ignore,)


def _unless_muted(call: Callable) -> Callable:
    def call_unless_muted(*seen: Any) -> None:
        if not MUTED.get():
            call(*seen)

    return call_unless_muted


@contextmanager
def muted() -> Iterator[None]:
    """Let the hooks of kdanalysis see nothing of what it runs itself, such as a head at a cell."""
    before = MUTED.set(True)
    try:
        yield
    finally:
        MUTED.reset(before)


def _ignore(*seen: Any) -> None:
    """Stand in for a hook on a copied module."""


TOKENS = (
    f"{PICKED} for recorder.loss(..., student=, teacher=): leave the models out of the recorder, "
    f"or use the integration of your trainer"
)


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
        of_tokens = isinstance(found, Tensor) and found.dim() == 3
        raise ValueError(
            f"the {side}'s output has no logits of shape (n, c), c >= 2: got {shape}; "
            + (TOKENS if of_tokens else "name the layer that gives them")
        )
    return found


def rivals_of(output: Any, logits: Tensor) -> list[str]:
    """Return what else in a model's output has the shape of logits; none where they are named."""
    named = (isinstance(output, Mapping) and "logits" in output) or hasattr(output, "logits")
    if named or isinstance(output, Tensor) or not isinstance(output, Sequence):
        return []
    others = [(i, x) for i, x in enumerate(output) if i and isinstance(x, Tensor)]
    return [
        f"entry {i} {tuple(x.shape)}"
        for i, x in others
        if x.dim() == 2 and len(x) == len(logits) and x.shape[1] > 1 and x.is_floating_point()
    ]


def in_backward() -> bool:
    """Whether this runs inside backward, as where activation checkpointing runs a pass again."""
    return torch._C._current_graph_task_id() != -1
