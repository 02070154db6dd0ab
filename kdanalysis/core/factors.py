"""Weights whose gradient is the product of two small matrices, of which one is known beforehand.

The gradient of a linear layer's weight is D'A, of its input A and the gradient D in its output. So
is that of a convolution, where a row of A is what the kernel sees at a place. The graph itself says
what a layer is, whatever its module is called.

Index legend: m rows of a layer's input, d its features, o those of its output; n samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from kdanalysis.core.gram import PIECE, gram

LINEAR = {"AddmmBackward0": ("mat1", 1), "MmBackward0": ("self", 0)}  # input's name and place
FEW = 8  # times fewer rows than features: with more the products take longer than the walk


class Window(NamedTuple):
    """What a kernel sees of a map, an entry an axis."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def rows(self, values: Float[Tensor, "n c *places"]) -> Float[Tensor, "m d"]:
        """Return what it sees at each place of each sample."""
        around = [width for width in reversed(self.padding) for _ in range(2)]
        seen = torch.nn.functional.pad(values, around)
        axes = zip(self.size, self.stride, self.dilation, strict=True)
        for axis, (size, stride, dilation) in enumerate(axes, 2):
            seen = seen.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
        seen = seen.movedim(1, -1)  # samples, places, what is seen, channels
        return seen.reshape(prod(seen.shape[: values.dim() - 1]), -1)


class Given(NamedTuple):
    """The input A of a linear layer, or of a convolution, whose A is what the window sees."""

    values: Float[Tensor, "n c *places"]
    window: Window | None = None

    def products(self) -> Float64[Tensor, "m m"]:
        """Return A A', some channels at a time: of a convolution A is larger than the input."""
        if self.window is None:
            return gram(self.values)
        entries = self.values[:, :1].numel() * prod(self.window.size)
        pieces = self.values.split(max(1, PIECE // entries), 1)
        return sum(gram(self.window.rows(piece)) for piece in pieces)


class Factor(NamedTuple):
    """A weight of whose gradient D'A the input A is known before any walk.

    None is given of a convolution's bias, whose gradient is the sum of D: where the walk is asked
    for that, it makes the weight's as well, at the same cost.
    """

    index: int  # among the parameters
    edge: GradientEdge  # where D, the gradient in the output, arrives
    given: Given | None

    def arrived(self, gradient: Tensor | None) -> Tensor | None:
        """Return what to keep of D."""
        if gradient is None or self.given is not None:
            return gradient
        return gradient.transpose(0, 1).flatten(1).sum(1)


def factors(
    parents: Mapping[Node, Sequence[Node]], ends: Mapping[Node, int], parameters: Sequence[Tensor]
) -> Iterator[Factor]:
    """Find weights that nothing but one layer uses, whose input has few rows, and their biases.

    Left as they are: inputs that hooks have packed away, as checkpointing does, parameters with
    hooks on their own gradient, and convolutions that are transposed or in groups.

    Args:
        parents: the nodes of the graph from which edges lead to a node.
        ends: the place of a parameter by the node of its gradient.
        parameters: all of them.
    """
    plain = {
        end: index
        for end, index in ends.items()
        if parameters[index].is_leaf and not parameters[index]._backward_hooks
    }
    for end, index in plain.items():
        node, name = _layer(end, parents)
        given = None if node is None else _given(node, name, parameters[index])
        if given is None:
            continue
        yield Factor(index, GradientEdge(node, 0), given)
        bias = node.next_functions[2][0] if given.window else None
        if bias in plain and _only(bias, parents) is node:
            yield Factor(plain[bias], GradientEdge(node, 0), None)


def _layer(end: Node, parents: Mapping[Node, Sequence[Node]]) -> tuple[Node | None, str]:
    """Return the only node that uses a weight, and what its input is called there."""
    node = _only(end, parents)
    if node is None:
        return None, ""
    if node.name() == "ConvolutionBackward0":
        fits = node.next_functions[1][0] is end and not node._saved_transposed
        return (node if fits and node._saved_groups == 1 else None), "input"
    turned, node = node, _only(node, parents)
    if node is None or turned.name() != "TBackward0" or node.name() not in LINEAR:
        return None, ""
    name, place = LINEAR[node.name()]
    fits = node.next_functions[place + 1][0] is turned and getattr(node, "_saved_alpha", 1) == 1
    return (node if fits else None), name


def _given(node: Node, name: str, weight: Tensor) -> Given | None:
    """Return the input of a layer, None where it is packed away, or has more than few rows."""
    saved = getattr(node, f"_raw_saved_{name}")
    rows, features = prod(node._input_metadata[0].shape) // len(weight), weight[0].numel()
    if getattr(saved, "unpack_hook", saved) is not None or FEW * rows > features:
        return None
    values = getattr(node, f"_saved_{name}").detach()
    if weight.dim() == 2:
        return Given(values)
    facts = (node._saved_stride, node._saved_padding, node._saved_dilation)
    return Given(values, Window(tuple(weight.shape[2:]), *facts))


def _only(node: Node, parents: Mapping[Node, Sequence[Node]]) -> Node | None:
    found = parents[node]
    return found[0] if len(found) == 1 else None
