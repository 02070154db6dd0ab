"""The gradient that autograd really sends into the student's logits."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def watch(values: Tensor | None, model: nn.Module | None) -> "SentGradient | None":
    """Watch values that are part of a graph for what is sent to them in training the model."""
    if values is None or not values.requires_grad:
        return None
    return SentGradient(values, [] if model is None else model.parameters())


class SentGradient:
    """Watches one batch of logits, or a feature map, until its record is finished.

    A hook on them also fires on ``torch.autograd.grad``, which trains nothing. So what
    arrives counts only once a parameter has accumulated a gradient in the same pass, as
    ``backward()`` makes it do. Several backward passes on the same values add up.

    Args:
        values: the student's, part of the graph.
        parameters: the student's; without any that learns, whatever arrives counts.
    """

    def __init__(self, values: Tensor, parameters: Iterable[Tensor]) -> None:
        self.value: Tensor | None = None
        self._arrived: tuple[int, Tensor] | None = None
        learning = [p for p in parameters if p.requires_grad and p.is_leaf]
        self._trust = not learning
        self._handles = [p.register_post_accumulate_grad_hook(self._confirm) for p in learning]
        self._handles.append(values.register_hook(self._arrive))

    def remove(self) -> None:
        """Take the hooks off; a second time is harmless."""
        for handle in self._handles:
            handle.remove()

    def _arrive(self, gradient: Tensor) -> None:
        self._arrived = torch._C._current_graph_task_id(), gradient.detach().clone()
        if self._trust:
            self._confirm(gradient)

    def _confirm(self, _: Tensor) -> None:
        if self._arrived is None:
            return
        task, gradient = self._arrived
        if task == torch._C._current_graph_task_id():
            self.value = gradient if self.value is None else self.value + gradient
            self._arrived = None
