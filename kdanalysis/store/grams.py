"""The layers table of a run as Gram matrices: one a step, rank and layer."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int64

from kdanalysis.store.inventory import Block
from kdanalysis.store.run import StoredRun

MATRICES = {"gram": "dot", "covariance": "covariance"}


class GramIndex(NamedTuple):
    """What a run recorded at its layers: names in the order recorded, and the steps, ascending."""

    layers: tuple[str, ...]
    terms: tuple[str, ...]
    steps: Int64[np.ndarray, " s"]


def gram_index(run: StoredRun) -> GramIndex:
    """Read once through the layers table; everything is empty where there is none."""
    layers, terms, steps = {}, {}, [np.zeros(0, np.int64)]
    for batch in run.batches(("step", "layer", "term_a", "term_b"), 65_536, kind="layers"):
        layers |= dict.fromkeys(batch["layer"])
        terms |= dict.fromkeys(batch["term_a"]) | dict.fromkeys(batch["term_b"])
        steps.append(np.unique(batch["step"]))
    return GramIndex(tuple(layers), tuple(terms), np.unique(np.concatenate(steps)))


def gram_batches(run: StoredRun, index: GramIndex, batch_size: int = 65_536) -> Iterator[Block]:
    """Yield the records of whole steps, ordered by step.

    Columns step, epoch, layer (its place in ``index.layers``), gram (m, t, t) of the dot products
    and, where the run has them, covariance (m, t, t) and count, the samples of the batch. A pair
    of terms without a row is NaN.
    """
    columns = run.columns_of("layers")
    for block in _whole_steps(run.batches(columns, batch_size, kind="layers")):
        yield _dense(block, index)


def _whole_steps(batches: Iterator[Block]) -> Iterator[Block]:
    """Cut batches where a step ends, so that no record is split."""
    held: Block = {}
    for batch in batches:
        held = {n: np.concatenate([held[n], v]) if held else v for n, v in batch.items()}
        cut = int(np.searchsorted(held["step"], held["step"][-1]))
        if cut:
            yield {name: values[:cut] for name, values in held.items()}
            held = {name: values[cut:] for name, values in held.items()}
    if held:
        yield held


def _dense(block: Block, index: GramIndex) -> Block:
    layer, a, b = (
        _codes(block[name], names)
        for name, names in (
            ("layer", index.layers),
            ("term_a", index.terms),
            ("term_b", index.terms),
        )
    )
    keys = np.stack([block["step"], block["rank"], layer], axis=1)
    _, first, record = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    record, size = record.reshape(-1), len(index.terms)
    dense = {"step": block["step"][first], "epoch": block["epoch"][first], "layer": layer[first]}
    for name, column in MATRICES.items():
        if column in block:
            dense[name] = np.full((len(first), size, size), np.nan)
            dense[name][record, a, b] = block[column]
    return dense | ({"count": block["count"][first]} if "count" in block else {})


def _codes(values: np.ndarray, names: Sequence[str]) -> Int[np.ndarray, " n"]:
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[value] for value in values], dtype=np.int64)
