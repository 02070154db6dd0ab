"""The rest of a teacher after a block: by running it whole with the block replaced, or alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from kdanalysis.networks.hook import logits_of
from kdanalysis.stones.blocks import Blocks, replaced

TEACHER = "teacher"


@dataclass(frozen=True)
class Chain:
    """Modules and functions that run one after the other."""

    steps: Sequence[Callable]

    def __call__(self, values: Tensor) -> Any:
        """Run them."""
        return reduce(lambda x, step: step(x), self.steps, values)


Segments = list[Chain]


def whole_runs(
    teacher: nn.Module, blocks: Blocks, entries: Mapping[str, Tensor], inputs: tuple, named: dict
) -> list[Tensor]:
    """Return the logits of the teacher with one block's output replaced, a run an entry."""
    found = []
    for name, value in entries.items():
        with replaced(name, blocks[name], value, TEACHER):
            found.append(logits_of(teacher(*inputs, **named), TEACHER))
    return found


def tail_runs(
    segments: Segments, names: Iterable[str], entries: Mapping[str, Tensor]
) -> list[Tensor]:
    """Return the same logits by the blocks that follow, what has entered running as one batch."""
    running: list[Tensor] = []
    sizes = []
    for name, segment in zip(names, segments, strict=True):
        if name in entries:
            running.append(entries[name])
            sizes.append(len(entries[name]))
        if running:
            running = [segment(running[0] if len(running) == 1 else torch.cat(running))]
    return list(running[0].split(sizes))


def segments_of(teacher: nn.Module, blocks: Blocks) -> Segments | None:
    """Return what runs from each block's output to the next block's, and to the logits at last.

    Known of a model with ``block_names``, ``blocks`` and ``classify`` (see ``zoo.Network``) and
    of a Sequential whose layers the blocks are; None for any other.
    """
    parts: tuple[str, ...]
    if isinstance(teacher, nn.Sequential):
        parts, modules = tuple(zip(*teacher.named_children(), strict=True))
        last: list[Callable] = []
    elif all(hasattr(teacher, name) for name in ("block_names", "blocks", "classify")):
        parts, modules, last = teacher.block_names, teacher.blocks, [teacher.classify]
    else:
        return None
    if not set(blocks) <= set(parts):
        return None
    places = [parts.index(name) + 1 for name in blocks]
    spans = zip(places, [*places[1:], None], strict=True)
    found = [list(modules[start:stop]) for start, stop in spans]
    found[-1] += last
    return [Chain(span) for span in found]


def proven(segments: Segments, outputs: Mapping[str, Tensor], logits: Tensor) -> bool:
    """Whether every tail gives the teacher's own logits from its own block's output.

    But for rounding, which is coarse where convolutions run in reduced precision, as they may on
    a GPU even of float32.
    """
    try:
        found = tail_runs(segments, outputs, {name: x.clone() for name, x in outputs.items()})
    except (RuntimeError, TypeError, AttributeError):
        return False
    coarse = logits.is_cuda or logits.element_size() < 4
    near = (1e-2 if coarse else 1e-4) * float(logits.abs().max())
    return all(
        one.shape == logits.shape and torch.allclose(one, logits, 0.0, near) for one in found
    )


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Let no parameter of a model take part in the graph that is built meanwhile."""
    learning = [p for p in model.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
