"""How far classes stand apart in a space of features: neighbours, silhouette, Fisher's ratio.

All three are of the features themselves, with Euclidean distances in float64. Distances are made
a block of rows at a time, so that memory grows with the rows and not with their square.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 2**21  # distances made together


class Separation(NamedTuple):
    """What a row's neighbourhood says of it."""

    neighbours: Int[Tensor, "n k"]  # the k nearest other rows, nearest first
    silhouette: Float[Tensor, " n"]  # in [-1, 1]


def separation(features: Float[Tensor, "n d"], target: Int[Tensor, " n"], k: int) -> Separation:
    """Return the nearest neighbours and the silhouette of every row.

    The silhouette (Rousseeuw 1987) is (b - a) / max(a, b): a is the mean distance to the other rows
    of the row's class, b the least mean distance to those of another class. That of a row which is
    alone in its class is 0, as that of one where a and b are 0.

    Args:
        features: of the rows.
        target: a class of every row; at least two classes.
        k: from 1 to n - 1.

    Raises:
        ValueError: one class alone, or no k other rows.
    """
    names, label, size = target.unique(return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"{len(target)} rows of {len(names)} class: need two to tell apart")
    if not 0 < k < len(features):
        raise ValueError(f"{len(features)} rows have no {k} nearest others: need 0 < k < rows")
    neighbours, silhouette = [], []
    for start, far in distance_blocks(features):
        rows = torch.arange(start, start + len(far), device=far.device)
        own = label[rows].unsqueeze(-1)
        sums = far.new_zeros(len(far), len(names)).index_add_(1, label, far)
        inside = sums.gather(1, own).squeeze(-1) / (size[label[rows]] - 1)
        outside = (sums / size).scatter(1, own, torch.inf).amin(1)
        found = (outside - inside) / torch.maximum(outside, inside)
        silhouette.append(found.nan_to_num(0.0))  # 0 / 0: alone, or upon all others
        neighbours.append(_nearest(far, start, k))
    return Separation(torch.cat(neighbours), torch.cat(silhouette))


def nearest(features: Float[Tensor, "n d"], k: int) -> Int[Tensor, "n k"]:
    """Return the k nearest other rows of every row, nearest first; k below n."""
    return torch.cat([_nearest(far, start, k) for start, far in distance_blocks(features)])


def _nearest(far: Float[Tensor, "b n"], start: int, k: int) -> Int[Tensor, "b k"]:
    """The k nearest of a block's rows, of which the first is row ``start``; far is used up."""
    here = torch.arange(len(far), device=far.device)
    far[here, start + here] = torch.inf
    return far.topk(k, largest=False).indices


def distance_blocks(features: Float[Tensor, "n d"]) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row of every block, and the distances of its rows to all, those to itself 0.

    Features are centred first: squares of what all rows share would drown the differences.
    """
    features = features.double()
    features = features - features.mean(0)
    squares = features.square().sum(1)
    count = max(1, BLOCK // len(features))
    for start in range(0, len(features), count):
        block = features[start : start + count]
        far = torch.addmm(squares, block, features.T, alpha=-2)
        far = (far + squares[start : start + count].unsqueeze(-1)).clamp_(min=0).sqrt_()
        far[torch.arange(len(far)), torch.arange(start, start + len(far))] = 0
        yield start, far


def voted(neighbours: Int[Tensor, "m k"], target: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Return the class that most of a row's neighbours have; of equal ones the smallest."""
    names, label = target.unique(return_inverse=True)
    votes = torch.zeros(len(neighbours), len(names), device=label.device)
    near = label[neighbours]
    return names[votes.scatter_add_(1, near, torch.ones_like(near, dtype=votes.dtype)).argmax(1)]


def fisher_ratio(features: Float[Tensor, "n d"], target: Int[Tensor, " n"]) -> float:
    """Return trace(S_b) / trace(S_w): scatter of the class means over scatter around them.

    S_b = sum_c n_c (m_c - m)(m_c - m)^T and S_w = sum_i (x_i - m_c(i))(x_i - m_c(i))^T. NaN where
    all rows are equal.
    """
    features = features.double()
    features = features - features.mean(0)
    names, label, size = target.unique(return_inverse=True, return_counts=True)
    sums = features.new_zeros(len(names), features.shape[1]).index_add_(0, label, features)
    means = sums / size.unsqueeze(-1)
    between = (size.unsqueeze(-1) * means.square()).sum()
    within = (features - means[label]).square().sum()
    return float(between / within)


def in_proportion(target: Int[Tensor, " n"], most: int, seed: int) -> Int[Tensor, " m"]:
    """Return at most so many rows, ascending, in which every class has its share but for one row.

    Rows are laid out by class, at random inside of each, and drawn at equal steps.
    """
    if len(target) <= most:
        return torch.arange(len(target))
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(target), generator=generator)
    by_class = shuffled[target.cpu()[shuffled].argsort(stable=True)]
    places = (torch.arange(most) * len(target) + len(target) // 2) // most
    return by_class[places].sort().values
