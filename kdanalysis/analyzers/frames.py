"""Sums as columns and rows of a table."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.core.bins import Bins

COUNTS = ("n", "rows", "related", "no_gradient", "no_relation", "non_finite")


def grid_columns(**levels: Iterable) -> dict[str, np.ndarray]:
    """Columns of all combinations of levels, those of the last one in turn."""
    known = {name: np.array(list(level)) for name, level in levels.items()}
    places = np.indices([len(level) for level in known.values()])
    found = zip(known.items(), places, strict=True)
    return {name: level[place.ravel()] for (name, level), place in found}


def flat_columns(values: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors as columns of a table, flattened; counts as integers.

    A value of fewer dimensions than another one is the same along the last ones.
    """
    whole = max(values.values(), key=Tensor.dim).shape
    return {
        name: (value.long() if name in COUNTS else value)
        .reshape(*value.shape, *[1] * (len(whole) - value.dim()))
        .expand(whole)
        .flatten()
        .cpu()
        .numpy()
        for name, value in values.items()
    }


def histogram(
    bins: Bins, counts: Tensor, names: tuple[Sequence, Sequence], columns: Sequence[str]
) -> pd.DataFrame:
    """Table of counts (a, b, bin): the edges of a bin, count and share, and n of its (a, b).

    The outermost bins reach to -inf and inf; those without a sample have no row.

    Args:
        bins: of the counts.
        counts: how many values are in each.
        names: of the first two dimensions, texts or tuples of texts, and numbers.
        columns: what the parts of a name are called.
    """
    counts = counts.cpu()
    first, second, place = counts.nonzero().unbind(-1)
    inside = torch.linspace(bins.low, bins.high, bins.count + 1, dtype=torch.float64)
    edges = torch.tensor([-torch.inf, *inside, torch.inf], dtype=torch.float64)
    found, n = counts[first, second, place], counts.sum(-1)[first, second]
    named = [((a,) if isinstance(a, str) else a) for a in names[0]]
    index = [(*named[i], names[1][j]) for i, j in zip(first, second, strict=True)]
    return pd.DataFrame(index, columns=list(columns)).assign(
        low=edges[place].numpy(),
        high=edges[place + 1].numpy(),
        count=found.long().numpy(),
        share=(found / n).numpy(),
        n=n.long().numpy(),
    )
