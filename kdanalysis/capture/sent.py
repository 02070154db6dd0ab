"""The gradient that autograd really sends into the student's logits."""

import torch
from torch import Tensor, nn

from kdanalysis.core.warn import warn


def watch(values: Tensor | None, model: nn.Module | None) -> "SentGradient | None":
    """Watch values that are part of a graph for what is sent to them in training.

    Values without a graph cannot be watched, of which a model that seems to be trained is warned.
    """
    if values is None:
        return None
    if values.requires_grad:
        return SentGradient(values)
    learns = model is not None and any(p.requires_grad for p in model.parameters())
    if learns and torch.is_grad_enabled():
        warn(
            "the student's logits carry no graph, so this step has no residual: they are from a "
            "pass without gradients, as in validation, or from inside activation checkpointing "
            "that is reentrant (use_reentrant=False keeps the graph)"
        )
    return None


class SentGradient:
    """Watches one batch of logits, or a feature map, until its record is finished.

    A hook on them also fires on ``torch.autograd.grad``, which trains nothing. So what
    arrives counts only once a leaf of their graph, as a rule a parameter, has accumulated a
    gradient before the pass ends, as ``backward()`` makes it do. The leaf is looked for in the
    graph, since parameters may be views of it (FSDP); the pass may run others inside (reentrant
    checkpointing). Several backward passes on the same values add up; ``passes`` counts them, and
    ``missed`` says that one reached the leaf by another way.

    Args:
        values: the student's, part of the graph.
    """

    def __init__(self, values: Tensor) -> None:
        self.value: Tensor | None = None
        self.passes, self.missed = 0, False
        self._arrived: Tensor | None = None
        leaf = _leaf(values)
        self._trust = leaf is None
        self._handles = [values.register_hook(self._arrive)]
        if leaf is not None:
            self._handles.append(leaf.register_post_accumulate_grad_hook(self._confirm))

    def remove(self) -> None:
        """Take the hooks off; a second time is harmless."""
        for handle in self._handles:
            handle.remove()

    def _arrive(self, gradient: Tensor) -> None:
        self._arrived = gradient.detach().clone()
        torch.autograd.Variable._execution_engine.queue_callback(self._end)
        if self._trust:
            self._confirm(gradient)

    def warn_of_none(self) -> None:
        """Warn where a backward pass trained the student, and none came by way of the values."""
        if self.value is None and self.missed:
            warn(
                "a step has no residual (NaN): a backward pass reached the student, but not by way "
                "of the logits that the recorder took: call it before backward(), not "
                "after, and give it the very tensor that your loss is computed from (chosen = "
                "logits[mask]; observe(..., student=chosen)), which a second logits[mask] is not"
            )

    def _confirm(self, _: Tensor) -> None:
        self.missed |= self._arrived is None
        if self._arrived is not None:
            self.passes += 1
            self.value = self._arrived if self.value is None else self.value + self._arrived
            self._arrived = None

    def _end(self) -> None:
        self._arrived = None


def _leaf(values: Tensor) -> Tensor | None:
    """Return a tensor at an end of the graph that accumulates its gradient; the nearest found."""
    if values.is_leaf:
        return values
    waiting, seen = [values.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            return node.variable
        seen.add(node)
        waiting += [other for other, _ in node.next_functions if other and other not in seen]
    return None
