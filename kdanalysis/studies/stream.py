"""One pass over batches of columns that feeds any number of analyzers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.ranks import RANKS

Batches = Iterable[Mapping[str, np.ndarray]]


def needed_columns(analyzer: Analyzer) -> tuple[set[str], set[str]]:
    """Return the columns an analyzer needs, and those it takes where they are there."""
    return set(analyzer.needs), set(analyzer.takes) - set(analyzer.needs)


def runnable(analyzers: Mapping[str, Analyzer], columns: Sequence[str]) -> dict[str, Analyzer]:
    """Return the analyzers whose needed columns are all there."""
    there = set(columns)
    return {name: a for name, a in analyzers.items() if needed_columns(a)[0] <= there}


def feed_share(
    logits: Any,
    columns: Sequence[str],
    analyzers: Iterable[Analyzer],
    device: torch.device | str = "cpu",
    watch: Callable[[Batches], Batches] = iter,
    batch_size: int = 4096,
) -> None:
    """Feed this rank's share of the rows, and leave the sums of all ranks in every rank.

    In one process the share is every row.

    Args:
        logits: what ``load_logits`` returns.
        columns: the columns to read.
        analyzers: as for ``feed``.
        device: where to compute.
        watch: wraps the batches, for checks and a progress bar.
        batch_size: rows in a batch.

    Raises:
        KeyError: an analyzer needs another column.
        ValueError: a side holds probabilities instead of logits.
    """
    analyzers = list(analyzers)
    rows = RANKS.share(logits.num_rows)
    batches = map(refuse_probabilities, logits.batches(batch_size, columns, rows))
    feed(watch(batches), analyzers, device)
    RANKS.unite(analyzers, logits.num_rows)


def refuse_probabilities(batch: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return the batch; a ValueError where a side's rows are probabilities instead of logits."""
    for name in {"teacher_logits", "student_logits"} & batch.keys():
        logits = batch[name]
        if (logits >= 0).all() and np.allclose(logits.sum(-1, dtype=np.float64), 1.0, atol=1e-3):
            raise ValueError(
                f"{name} are not negative and sum to 1 in every row, so they are probabilities: "
                f"give logits (the logarithm of the probabilities will do)"
            )
    return batch


def feed(
    batches: Batches,
    analyzers: Iterable[Analyzer],
    device: torch.device | str = "cpu",
) -> None:
    """Give every analyzer the columns it declares, batch by batch.

    Args:
        batches: numpy columns by name, as the store reads them.
        analyzers: each gets the columns it takes; the states stay on ``device``.
        device: where to compute.

    Raises:
        KeyError: a needed column is missing from a batch.
    """
    wanted = [(a.to(device), *needed_columns(a)) for a in analyzers]
    names = set().union(*(needed | optional for _, needed, optional in wanted))
    for batch in batches:
        columns = {
            name: torch.from_numpy(np.ascontiguousarray(batch[name])).to(device)
            for name in sorted(names & batch.keys())
        }
        for analyzer, needed, optional in wanted:
            absent = sorted(needed - columns.keys())
            if absent:
                raise KeyError(f"{type(analyzer).__name__} needs the column {absent[0]!r}")
            more = {name: columns[name] for name in optional & columns.keys()}
            analyzer.update(*(columns[name] for name in analyzer.needs), **more)
