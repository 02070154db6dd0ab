"""One pass over batches of columns that feeds any number of analyzers."""

import inspect
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from kdanalysis.analysis.base import Analyzer


def needed_columns(analyzer: Analyzer) -> tuple[set[str], set[str]]:
    """Return the columns an analyzer needs, and those it takes where they are there."""
    parameters = inspect.signature(analyzer.update).parameters.values()
    needed = {p.name for p in parameters if p.default is p.empty} | analyzer.also_needed
    return needed, {p.name for p in parameters} - needed


def runnable(analyzers: Mapping[str, Analyzer], columns: Sequence[str]) -> dict[str, Analyzer]:
    """Return the analyzers whose needed columns are all there."""
    there = set(columns)
    return {name: a for name, a in analyzers.items() if needed_columns(a)[0] <= there}


def feed(
    batches: Iterable[Mapping[str, np.ndarray]],
    analyzers: Iterable[Analyzer],
    device: torch.device | str = "cpu",
) -> None:
    """Give every analyzer the columns its ``update`` names, batch by batch.

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
            analyzer.update(**{n: columns[n] for n in (needed | optional) & columns.keys()})
