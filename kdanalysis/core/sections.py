"""A student's graph in sections: the gradients of all terms are alive for one of them at a time.

Dot products between terms need a layer's gradients of every term together. Walked from end to end,
the graph leaves those of the whole model before the first product can be taken. So a large graph is
cut where a single gradient carries on all that lies behind, and every term goes through a section
before any enters the next.

Index legend: t terms; n samples; c classes.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from heapq import heappop, heappush
from math import prod
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.utils import checkpoint

from kdanalysis.core.factors import Factor, Given, factors

LARGE = 1 << 20  # numbers a term; a graph with fewer gives nothing to win, and goes in one piece


class Section(NamedTuple):
    """What is reached from ``start`` and not from ``end``, which leads to all that is left."""

    start: Tensor | GradientEdge
    whole: list[int]  # parameters whose gradients arrive as they are
    factors: list[Factor]
    end: GradientEdge | None


class Arrived(NamedTuple):
    """Gradients of every term in a parameter, None where a term does not reach it.

    Where the layer's input A is ``given``, they are those in its output, D each.
    """

    index: int
    gradients: tuple[Tensor | None, ...]
    given: Given | None = None


Product = Callable[[Any, Sequence[Any], Tensor], Sequence[Tensor | None]]


def arrivals(
    logits: Float[Tensor, "n c"],
    outputs: Float[Tensor, "t n c"],
    parameters: Sequence[Tensor],
    product: Product,
) -> Iterator[list[Arrived]]:
    """Yield what arrives at the parameters, section by section: take it out before the next.

    Args:
        logits: part of the graph, which stays whole.
        outputs: the gradients to send into them.
        parameters: what they are to be sent to.
        product: walks from the first to the second with the third, the graph retained.
    """
    parts = sections(logits, parameters)
    groups = [_once(len(parts)) for _ in outputs]
    carried: list[Tensor | None] = list(outputs)
    for part in parts:
        rows = []
        for group in groups:
            with group:
                rows.append(_send(part, parameters, carried.pop(0), product))
        columns = list(zip(*rows, strict=True))
        del rows
        carried = [] if part.end is None else list(columns.pop())
        places = [(i, None) for i in part.whole] + [(f.index, f.given) for f in part.factors]
        found = [Arrived(i, c, given) for (i, given), c in zip(places, columns, strict=True)]
        del columns
        yield found


def _send(
    part: Section, parameters: Sequence[Tensor], gradient: Tensor | None, product: Product
) -> list[Tensor | None]:
    """Send a term's gradient through a section; every hook of a tensor acts on it once.

    The engine calls the hooks of the tensor where a section ends, and again where the next starts.
    What a walk gives at a place that it goes on from has not seen them, unlike what a node gets.
    """
    inputs = [parameters[i] for i in part.whole] + [factor.edge for factor in part.factors]
    inputs += [] if part.end is None else [part.end]
    if gradient is None or not inputs:
        return [None] * len(inputs)
    seen: dict[Node, Tensor] = {}
    hooks = {factor.edge.node: lambda given, at=factor.edge: seen.update({at.node: given[0]})
             for factor in part.factors}  # fmt: skip
    start = part.start

    def as_it_was(given: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        return tuple(gradient if i == start.output_nr else x for i, x in enumerate(given))

    handles = []
    try:
        if isinstance(start, GradientEdge):
            handles.append(start.node.register_prehook(as_it_was))
            seen[start.node] = gradient
        handles += [node.register_prehook(hook) for node, hook in hooks.items()]
        found = list(product(start, inputs, gradient))
    finally:
        for handle in handles:
            handle.remove()
    for place, factor in enumerate(part.factors, len(part.whole)):
        found[place] = factor.arrived(seen.get(factor.edge.node, found[place]))
    return found


def sections(logits: Float[Tensor, "n c"], parameters: Sequence[Tensor]) -> list[Section]:
    """Cut the graph behind the logits where it narrows to one gradient.

    A section ends at the first such place where what arrives in it is large, and larger than the
    gradient that is carried on. A graph with fewer parameters than ``LARGE`` is not cut.
    """
    if sum(p.numel() for p in parameters) < LARGE:
        return [Section(logits, list(range(len(parameters))), [], None)]
    root = get_gradient_edge(logits).node
    ends = {get_gradient_edge(p).node: i for i, p in enumerate(parameters)}
    edges, parents = _reachable(root)
    known = {factor.index: factor for factor in factors(parents, ends, parameters)}
    needed = _leading_to([e for e, i in ends.items() if e in edges and i not in known], parents)
    needed |= _leading_to([factor.edge.node for factor in known.values()], parents)
    edges = {node: [e for e in edges[node] if e[0] in needed] for node in needed}
    at = defaultdict(list)
    for factor in known.values():
        at[factor.edge.node].append(factor)

    waiting = Counter(other for nexts in edges.values() for other, _ in nexts)
    order, opened = [(0, 0, root)] if needed else [], {root: {logits.output_nr}}
    parts, size, pushed = [Section(logits, [], [], None)], 0, 0
    while order:
        node = heappop(order)[-1]
        numbers = opened.pop(node)
        if size >= LARGE and node not in ends and not opened and len(numbers) == 1:
            edge = GradientEdge(node, *numbers)
            if size >= _entries(edge):
                parts[-1] = parts[-1]._replace(end=edge)
                parts.append(Section(edge, [], [], None))
                size = 0
        if node in ends:
            parts[-1].whole.append(ends[node])
            size += parameters[ends[node]].numel()
        if node in at:
            parts[-1].factors.extend(at[node])
            size += _entries(at[node][0].edge)
        for other, number in edges[node]:
            opened.setdefault(other, set()).add(number)
            waiting[other] -= 1
            if not waiting[other]:  # the order of the engine: what the forward pass did last
                pushed += 1
                heappush(order, (-other._sequence_nr(), pushed, other))
    return parts


def _reachable(root: Node) -> tuple[dict[Node, list[tuple[Node, int]]], dict[Node, list[Node]]]:
    """Return the edges that leave every node, and the nodes from which edges lead to it."""
    edges, parents, waiting = {}, defaultdict(list), [root]
    while waiting:
        node = waiting.pop()
        if node not in edges:
            edges[node] = [(other, number) for other, number in node.next_functions if other]
            for other, _ in edges[node]:
                parents[other].append(node)
                waiting.append(other)
    return edges, parents


def _leading_to(nodes: Sequence[Node], parents: dict[Node, list[Node]]) -> set[Node]:
    found, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += parents[node]
    return found


def _entries(edge: GradientEdge) -> int:
    return prod(edge.node._input_metadata[edge.output_nr].shape)


def _once(parts: int) -> AbstractContextManager:
    """Let checkpointing run a block once where several walks of a term share it."""
    return nullcontext() if parts == 1 else checkpoint.GraphExecGroup()
