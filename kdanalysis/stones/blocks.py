"""Named blocks of a model: watched and replaced in a forward pass, and left as they were."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from kdanalysis.networks.hook import in_python
from kdanalysis.networks.maps import tensor_of

Blocks = dict[str, nn.Module]


@contextmanager
def watched(blocks: Blocks, side: str, copies: bool = False) -> Iterator[dict[str, Tensor]]:
    """Collect what the blocks give in one forward pass, by name in the order they end.

    Args:
        blocks: the modules.
        side: what the model is called in messages.
        copies: keep copies, so that it does not matter what later layers do in place; else the
            outputs themselves, part of the graph.

    Raises:
        ValueError: a block ran twice or not at all, gives no tensor, or a later layer changed its
            output in place.
    """
    seen: dict[str, Tensor] = {}
    versions: dict[str, int] = {}

    def keep(name: str, output: Any) -> None:
        _refuse_again(name, seen, side)
        found = tensor_of(output)
        if found is None:
            raise ValueError(
                f"the {side}'s block {name!r} gives a {type(output).__name__}, which holds no "
                f"tensor to connect"
            )
        seen[name] = found.clone() if copies else found
        versions[name] = _version(seen[name])

    handles = [
        block.register_forward_hook(in_python(lambda *seen, name=name: keep(name, seen[-1])))
        for name, block in blocks.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    _refuse_silent(blocks, seen, side)
    for name, output in seen.items():
        if _version(output) != versions[name]:
            raise ValueError(
                f"a later layer changes the output of the {side}'s block {name!r} in place: name a "
                f"block that ends with that layer"
            )


@contextmanager
def replaced(name: str, block: nn.Module, value: Tensor, side: str) -> Iterator[None]:
    """Let a block give ``value`` instead of its own output in one forward pass.

    Raises:
        ValueError: the block ran twice or not at all.
    """
    seen: dict[str, bool] = {}

    def swap(output: Any) -> Any:
        _refuse_again(name, seen, side)
        seen[name] = True
        return type(output)((value, *output[1:])) if isinstance(output, tuple | list) else value

    handle = block.register_forward_hook(in_python(lambda *passed: swap(passed[-1])))
    try:
        yield
    finally:
        handle.remove()
    _refuse_silent({name: block}, seen, side)


def check_order(blocks: Blocks, seen: dict[str, Tensor], side: str) -> None:
    """Raise a ValueError where the blocks ended in another order than they are named in."""
    if list(blocks) != list(seen):
        raise ValueError(
            f"the {side} runs its blocks in the order {', '.join(seen)}: name them so, not "
            f"{', '.join(blocks)}"
        )


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _refuse_again(name: str, seen: dict[str, Any], side: str) -> None:
    if name in seen:
        raise ValueError(
            f"the {side}'s block {name!r} ran twice in one forward pass: a stone needs one that "
            f"runs once"
        )


def _refuse_silent(blocks: Blocks, seen: dict[str, Any], side: str) -> None:
    silent = [name for name in blocks if name not in seen]
    if silent:
        raise ValueError(
            f"the {side}'s block {silent[0]!r} did not run in its forward pass, or the model was "
            f"compiled before its blocks could be watched"
        )
