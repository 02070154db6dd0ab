"""Classes in an order in which like ones stand together, and names for their groups."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Likeness = Float[np.ndarray, "c c"]


def like_together(likeness: Likeness, most: int = 1) -> list[list[int]]:
    """Return at most so many groups of like things, like groups beside each other.

    Average linkage: the two groups whose members are most alike in the mean are joined, at those
    of their ends that are most alike. Laid one after the other, the groups are the order.

    Args:
        likeness: of every pair, larger for more; both directions are averaged. NaN counts as the
            least of all.
        most: how many groups.
    """
    both = np.asarray(likeness, dtype=float)
    both = np.round((both + both.T) / 2, 12)  # what differs by rounding alone is a tie
    known = both[np.isfinite(both)]
    near = np.where(np.isfinite(both), both, known.min() if known.size else 0.0)
    groups = {i: [i] for i in range(len(near))}
    between, parts = near.copy(), list(groups.values())
    np.fill_diagonal(between, -np.inf)
    while len(groups) > 1:
        a, b = sorted(int(place) for place in np.unravel_index(between.argmax(), between.shape))
        one, other = groups[a], groups.pop(b)
        mean = (len(one) * between[a] + len(other) * between[b]) / (len(one) + len(other))
        between[a], between[:, a] = mean, mean
        between[b], between[:, b], between[a, a] = -np.inf, -np.inf, -np.inf
        groups[a] = _joined(one, other, near)
        if len(groups) >= most:
            parts = list(groups.values())
    (order,) = groups.values() or [[]]
    place = {member: i for i, member in enumerate(order)}
    return sorted((sorted(part, key=place.get) for part in parts), key=lambda part: place[part[0]])


def group_names(
    groups: Sequence[Sequence[int]], likeness: Likeness, names: Sequence[str]
) -> list[str]:
    """Name every group by the member most like the others, with how many those are: cat + 4."""
    found = []
    for group in groups:
        inner = np.asarray(likeness, dtype=float)[np.ix_(group, group)]
        centre = group[int(np.nan_to_num(inner + inner.T).sum(1).argmax())]
        found.append(names[centre] + (f" + {len(group) - 1}" if len(group) > 1 else ""))
    return found


def _joined(one: list[int], other: list[int], near: Likeness) -> list[int]:
    """One group after the other, turned so that the ends that meet are the likest."""
    ways = [(x, y) for x in (one, one[::-1]) for y in (other, other[::-1])]
    first, then = max(ways, key=lambda way: near[way[0][-1], way[1][0]])
    return [*first, *then]
