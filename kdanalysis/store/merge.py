"""Many streams of rows, each ordered by step, as one stream without duplicates.

Rows come out ordered by step. Where two streams hold the same (step, key), the row of the stream
that stands first is kept. Memory is a block a stream, and the keys of a step that is longer than
a block.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int, Shaped

from kdanalysis.store.inventory import Block

Key = Callable[[Block], np.ndarray]


class Stream:
    """Blocks of one source, ordered by step; ``head`` is what has been read and not yet taken."""

    def __init__(self, first_step: int, blocks: Callable[[], Iterator[Block]]) -> None:
        self.first_step, self._open = first_step, blocks
        self._blocks: Iterator[Block] | None = None
        self.head: Block | None = None

    def fill(self) -> bool:
        """Make sure that there is a head; False at the end of the stream."""
        if self._blocks is None:
            self._blocks = self._open()
        while self.head is None:
            block = next(self._blocks, None)
            if block is None:
                return False
            self.head = block if len(block["step"]) else None
        return True

    @property
    def last_step(self) -> int:
        """Last step of the head: rows before it are complete."""
        return int(self.head["step"][-1])

    def take(self, stop: int) -> Block:
        """Remove and return the rows of the head with a step below ``stop``."""
        count = int(np.searchsorted(self.head["step"], stop))
        taken = {name: values[:count] for name, values in self.head.items()}
        rest = {name: values[count:] for name, values in self.head.items()}
        self.head = rest if len(rest["step"]) else None
        return taken


def merge(streams: Sequence[Stream], key: Key) -> Iterator[tuple[Block, int]]:
    """Yield blocks of unique rows with the number of duplicates left out of each.

    Args:
        streams: the preferred one first.
        key: what tells two rows of a step apart, one sortable value a row.
    """
    waiting = sorted(streams, key=lambda stream: stream.first_step, reverse=True)
    active: list[Stream] = []
    while active := [stream for stream in active if stream.fill()] or _start(waiting):
        stop = min(stream.last_step for stream in active)
        if waiting and waiting[-1].first_step <= stop:
            active = sorted([*active, waiting.pop()], key=streams.index)
            continue
        blocks = [stream.take(stop) for stream in active]
        if sum(len(block["step"]) for block in blocks):
            yield _unique(blocks, key)
        else:
            yield from _drain(active, stop, key)


def _start(waiting: list[Stream]) -> list[Stream]:
    while waiting:
        stream = waiting.pop()
        if stream.fill():
            return [stream]
    return []


def _unique(blocks: list[Block], key: Key) -> tuple[Block, int]:
    blocks = [block for block in blocks if len(block["step"])]
    block = blocks[0] if len(blocks) == 1 else _joined(blocks)
    count = len(block["step"])
    keep = _first_of_each(block["step"], key(block))
    keep = keep[np.argsort(block["step"][keep], kind="stable")]
    if np.array_equal(keep, np.arange(count)):  # nothing to copy
        return block, 0
    return {name: values[keep] for name, values in block.items()}, count - len(keep)


def _first_of_each(step: Int[np.ndarray, " n"], keys: Shaped[np.ndarray, " n"]) -> np.ndarray:
    """Return ascending indices of the first row of every (step, key)."""
    order = np.lexsort((keys, step))
    step, keys = step[order], keys[order]
    new = np.ones(len(step), bool)
    new[1:] = (step[1:] != step[:-1]) | (keys[1:] != keys[:-1])
    return np.sort(order[new])


def _drain(streams: list[Stream], step: int, key: Key) -> Iterator[tuple[Block, int]]:
    """Yield the rows of one long step, stream by stream, remembering its keys."""
    seen: np.ndarray | None = None
    for stream in streams:
        while stream.fill() and int(stream.head["step"][0]) == step:
            block = stream.take(step + 1)
            keys = key(block)
            new = np.zeros(len(keys), bool)
            new[np.unique(keys, return_index=True)[1]] = True
            if seen is not None:
                new &= ~_contains(seen, keys)
            seen = np.union1d(keys, seen) if seen is not None else np.unique(keys)
            yield {name: values[new] for name, values in block.items()}, int((~new).sum())


def _contains(
    ordered: Shaped[np.ndarray, " m"], keys: Shaped[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return ordered[place] == keys


def check_rows(rows: range | None, num_rows: int) -> range:
    """Return the rows to read, all of ``num_rows`` where none are named.

    Raises:
        ValueError: some of them are not there, or they are not consecutive.
    """
    rows = range(num_rows) if rows is None else rows
    if rows.step != 1 or not 0 <= rows.start <= rows.stop <= num_rows:
        raise ValueError(f"got {rows}, need consecutive rows of the {num_rows} there are")
    return rows


def cut(blocks: Iterator[Block], skipped: int, count: int) -> Iterator[Block]:
    """Leave out the first ``skipped`` rows and end after ``count`` more, reading no further."""
    while count and (block := next(blocks, None)) is not None:
        size = len(next(iter(block.values())))
        kept = slice(min(skipped, size), min(skipped + count, size))
        if kept.start < kept.stop:
            yield {name: values[kept] for name, values in block.items()}
        skipped, count = skipped - kept.start, count - (kept.stop - kept.start)


def rebatch(blocks: Iterator[Block], batch_size: int) -> Iterator[Block]:
    """Yield blocks of exactly ``batch_size`` rows, the last one shorter; arrays are copies."""
    held: list[Block] = []
    count = 0
    for block in blocks:
        size = len(next(iter(block.values())))
        start = 0
        while count + size - start >= batch_size:
            stop = start + batch_size - count
            held.append({name: values[start:stop] for name, values in block.items()})
            yield _joined(held)
            held, count, start = [], 0, stop
        if start < size:
            held.append({name: values[start:] for name, values in block.items()})
            count += size - start
    if count:
        yield _joined(held)


def _joined(blocks: list[Block]) -> Block:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
