"""Rows in chunks that one step of work fits, worked off several at a time."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import torch
from torch import Tensor

MANY = 2**22  # numbers of a chunk on other devices than the CPU


def chunks(logits: Tensor, *others: Tensor, entries: int = 32_000) -> list[tuple[Tensor, ...]]:
    """Return the rows of logits (n, c), and of what else belongs to them, in chunks.

    Args:
        logits: of the samples.
        others: tensors of n rows.
        entries: rows x classes of a chunk on a CPU; of more, arrays leave the cache, and torch
            shares them among its threads.
    """
    rows = max(1, (entries if logits.device.type == "cpu" else MANY) // logits.shape[1])
    return list(zip(*(column.split(rows) for column in (logits, *others)), strict=True))


def in_parallel(
    work: Callable[[tuple], tuple], chunks: list[tuple], device: torch.device
) -> Iterator[tuple]:
    """Yield the results in order; on CPU as many chunks at a time as torch has threads.

    One chunk is too small for torch to share out among its threads. The order of the results, and
    so every rounding, does not depend on the number of threads.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1 or len(chunks) == 1:
        yield from map(work, chunks)
        return
    contexts = [copy_context() for _ in chunks]  # each thread is told what this one was
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda context, chunk: context.run(work, chunk), contexts, chunks)
