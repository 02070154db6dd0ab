"""Named blocks of a model: found, watched and replaced in a forward pass, and left as they were."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from kdanalysis.networks.reading import tensor_of

Blocks = dict[str, nn.Module]


def find_blocks(model: nn.Module, names: Sequence[str] | None, side: str) -> Blocks:
    """Return the blocks of a model by their dotted names.

    Args:
        model: the model.
        names: of its blocks; those it states in ``block_names`` if None.
        side: what the model is called in messages.

    Raises:
        ValueError: there is no such block (the nearest ones are offered), one is named twice, or
            none is named.
    """
    names = getattr(model, "block_names", ()) if names is None else names
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"the {side}'s blocks are a sequence of names, got {names!r:.80}")
    if not names:
        raise ValueError(f"name the {side}'s blocks: it has no block_names of its own")
    known = dict(model.named_modules())
    known.pop("", None)
    for place, name in enumerate(names):
        if name not in known:
            raise ValueError(f"the {side} has no block {name!r}{_nearest(name, known)}")
        if name in names[:place]:
            raise ValueError(f"the {side}'s block {name!r} is named twice")
    return {name: known[name] for name in names}


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
        block.register_forward_hook(lambda *seen, name=name: keep(name, seen[-1]))
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

    handle = block.register_forward_hook(lambda *passed: swap(passed[-1]))
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


def _nearest(name: str, known: dict[str, nn.Module]) -> str:
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    top = [path for path in known if "." not in path]
    return f"; the nearest are {', '.join(close)}" if close else f"; it has: {', '.join(top)}"
