"""The linear head of a student: its input on captured steps, from which closed forms follow."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdanalysis.networks.hook import Hook, in_backward
from kdanalysis.networks.maps import agree
from kdanalysis.networks.names import Layer


class Head:
    """Keeps the input of a linear module on captured steps, to see whether it gave the logits.

    Args:
        layer: an ``nn.Linear``, or one of its parameters.
        captures: asked at every forward pass whether the step is captured.
    """

    def __init__(self, layer: Layer, captures: Callable[[], bool]) -> None:
        self._layer, self._captures = layer, captures
        self._last: tuple[Tensor, Tensor] | None = None
        self._calls = 0
        self._handle = layer.module.register_forward_hook(Hook(self._keep))

    def take(self, logits: Tensor) -> tuple[Tensor, dict[str, bool]] | None:
        """Return its input and which of its parameters learn, or None where it is not the head.

        A module that ran several times has gradients that one input does not show, and one whose
        hooks changed its weight or its output is not what its class says.
        """
        last, calls = self._last, self._calls
        self._last, self._calls = None, 0
        if last is None or calls > 1 or last[1] is not logits:
            return None
        learning = self._layer.learning()
        return last[0], {name: name in learning for name in ("weight", "bias")}

    def remove(self) -> None:
        """Take the hook off and let the input go; a second time is harmless."""
        self._handle.remove()
        self._last, self._calls = None, 0

    def _keep(self, module: nn.Module, arguments: tuple, output: Tensor) -> None:
        if not in_backward() and output.requires_grad and arguments and self._captures():
            self._last, self._calls = (arguments[0].detach(), output), self._calls + 1
            if not _is_linear(module, self._last[0], output):
                self._last = None


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a linear layer with a weight of its own and perhaps a bias.

    Weight norm, spectral norm and pruning by hooks leave it the class, but other parameters.
    """
    names = set(module._parameters)
    return type(module) is nn.Linear and {"weight"} <= names <= {"weight", "bias"}


@torch.no_grad()
def _is_linear(module: nn.Linear, given: Tensor, output: Tensor) -> bool:
    found = F.linear(given, module.weight, module.bias)
    if not found.numel():
        return True
    return found.shape == output.shape and bool(agree(found, output).all())


def is_shared(layer: Layer, student: nn.Module) -> bool:
    """Whether another module uses a parameter too, such as an embedding tied to the head."""
    own = {id(p) for p in layer.module.parameters()}
    holders = [m for m in student.modules() if any(id(p) in own for p in m._parameters.values())]
    return len(holders) > 1
