"""What a page needs of several sources, read by several processes where it is soon done."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import torch

from kdanalysis.core.cores import on_cores, one_thread
from kdanalysis.core.ranks import RANKS
from kdanalysis.pages.explorer import Explorer, explored, explorer_from, gram_of
from kdanalysis.studies.compute import Watch, unwatched
from kdanalysis.studies.source import Source

FEW = 1e6  # logits of all sources, which one thread looks at in a second

Tables = dict[str, pd.DataFrame]


def read_all(
    sources: Mapping[str, Source],
    tables_of: Callable[[Source, Watch], Tables],
    settings: tuple[float, int] | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
    of: str = "",
    both: Mapping[str, Source] | None = None,
) -> tuple[dict[str, Tables], Explorer | None]:
    """Return the tables of every source, and the explorer of those that have both sides.

    Of a few logits on a CPU several processes read some each, on a thread each and without a word
    of progress. Every number is the one that a single thread computes, whatever the number of
    cores.

    Args:
        sources: by run.
        tables_of: reads one and returns its tables.
        settings: T and k of the training, as for ``explorer_of``.
        device: where to compute.
        watch: wraps the batches, for a progress bar.
        of: which samples the explorer is of, as a clause for readers.
        both: the sources that it is of; those among all that have both sides, if None.
    """
    few = sum(one.num_rows * one.width for one in sources.values()) <= FEW
    shared = few and torch.device(device).type == "cpu" and RANKS.world == 1
    watch = unwatched if shared else watch
    both = explored(sources if both is None else both)
    tasks = [partial(_counted, one, partial(tables_of, one, watch)) for one in sources.values()]
    tasks += [
        partial(_counted, one, partial(gram_of, name, both, settings, device, watch))
        for name, one in both.items()
    ]
    if shared:
        with one_thread():
            done = on_cores(tasks)
    else:
        done = [task() for task in tasks]
    for source, (_, seen) in zip((*sources.values(), *both.values()), done, strict=True):
        source.unlabelled, source.soft, source.paired = seen
    found = [one for one, _ in done]
    grams = dict(zip(both, found[len(sources) :], strict=True))
    tables = dict(zip(sources, found[: len(sources)], strict=True))
    return tables, explorer_from(grams, both, settings, of)


def _counted(
    source: Source, read: Callable[[], Any]
) -> tuple[Any, tuple[int, int, dict[tuple[str, str], str]]]:
    """Return what was read, and what the source knows then of labels and of sides put together."""
    return read(), (source.unlabelled, source.soft, source.paired)
