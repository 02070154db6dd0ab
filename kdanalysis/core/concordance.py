"""How alike two sides rank and space entries, as compiled loops for processors: row by row.

The same as the operations on whole arrays in ``association``. Pairs are counted in the order of one
side, each entry against those before it, by a tree of counts over the ranks of the other: in
O(m log m) a row.
"""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdanalysis.core.sweep.elementary import exact, larger, summed, widest
from kdanalysis.core.sweep.order import class_order


def associated_rows(
    a: Float[Tensor, "n m"], b: Float[Tensor, "n m"], among: Bool[Tensor, "s n m"]
) -> tuple[Float[Tensor, "s n 4"], Bool[Tensor, "s n"]]:
    """Return what ``associations`` does; a row is sorted once, however many choices there are."""
    sides = [x.detach() if x.dtype == torch.float64 else x.detach().float() for x in (a, b)]
    orders = [class_order(side).numpy() for side in sides]
    found = torch.empty(*among.shape[:2], 4, dtype=torch.float64)
    defined = torch.empty(among.shape[:2], dtype=torch.bool)
    rows = [side.contiguous().numpy() for side in sides]
    _associate(*rows, *orders, among.contiguous().numpy(), found.numpy(), defined.numpy())
    return found, defined


@no_type_check
@exact
def _associate(a, b, order_a, order_b, among, found, defined):
    """Fill in the measures of every row under every choice, and whether it has them."""
    classes = a.shape[1]
    of_a, of_b, ranks_a, ranks_b, tree, same = np.empty((6, classes + 1), np.int64)
    for choice in range(len(among)):
        for i in range(len(a)):
            m = _choose(order_a[i], among[choice, i], of_a)
            _choose(order_b[i], among[choice, i], of_b)
            pairs, centre = m * (m - 1) // 2, m - 1  # the mean of doubled ranks
            untied_a = pairs - _rank(a[i], of_a[:m], ranks_a)
            untied_b = pairs - _rank(b[i], of_b[:m], ranks_b)
            scratch = tree[: m + 1], same[: m + 1]
            discordant, both = _pairs(of_a[:m], ranks_a, ranks_b, *scratch)
            concordant = untied_a + untied_b - pairs + both - discordant
            product, square_a, square_b = 0.0, 0.0, 0.0
            for j in of_a[:m]:
                one, other = np.float64(ranks_a[j] - centre), np.float64(ranks_b[j] - centre)
                product += one * other
                square_a += one * one
                square_b += other * other
            measures = found[choice, i]
            measures[0] = product / np.sqrt(square_a * square_b)  # exact where nothing ties
            measures[1] = (concordant - discordant) / np.sqrt(np.float64(untied_a) * untied_b)
            measures[2] = _cosine(a[i], b[i], among[choice, i], m)
            measures[3] = concordant / (concordant + discordant)
            measures[:] = np.minimum(np.maximum(measures, -1.0), 1.0)
            defined[choice, i] = untied_a > 0 and untied_b > 0


@no_type_check
@exact
def _choose(order, among, found):
    """List the entries of a choice in their order, and return how many they are."""
    count = 0
    for j in order:
        if among[j]:
            found[count] = j
            count += 1
    return count


@no_type_check
@exact
def _rank(x, order, ranks):
    """Fill in twice the rank of every listed entry, ties sharing their mean; return tied pairs."""
    tied, first = 0, 0
    while first < len(order):
        end = _end_of_run(x, order, first)
        for j in range(first, end):
            ranks[order[j]] = first + end - 1
        tied += (end - first) * (end - first - 1) // 2
        first = end
    return tied


@no_type_check
@exact
def _end_of_run(x, order, first):
    """Place after the last of the entries that are equal to the one at a place."""
    end = first + 1
    while end < len(order) and x[order[end]] == x[order[first]]:
        end += 1
    return end


@no_type_check
@exact
def _pairs(order, ranks_a, ranks_b, tree, same):
    """Return how many pairs the sides order the opposite way, and how many tie in both.

    Every entry is held against those before it, of which none ties with it.

    Args:
        order: the entries in one side's order.
        ranks_a: that side's.
        ranks_b: the other's.
        tree: scratch, one longer than the order: at every place the count of ranks over as many
            places up to it as its lowest bit says (Fenwick).
        same: scratch, likewise: entries of the same rank among those that tie.
    """
    tree[:], same[:] = 0, 0
    discordant, tied, first = 0, 0, 0
    while first < len(order):
        end = _end_of_run(ranks_a, order, first)
        for j in range(first, end):
            own = _place(ranks_b[order[j]])
            below, place = 0, own
            while place > 0:
                below += tree[place]
                place &= place - 1
            discordant += first - below
            tied += same[own]
            same[own] += 1
        for j in range(first, end):
            place = _place(ranks_b[order[j]])
            same[place] = 0
            while place < len(tree):
                tree[place] += 1
                place += place & -place
        first = end
    return discordant, tied


@no_type_check
@exact
def _place(rank):
    """Place of a doubled rank in the tree: ties, in a row of places, have one in their middle."""
    return (rank >> 1) + 1


@no_type_check
@summed
def _cosine(a, b, among, count):
    """Cosine of both sides less their means, over the chosen entries."""
    widest()
    mean_a, mean_b, most_a, most_b = 0.0, 0.0, 0.0, 0.0
    for j in range(len(a)):
        mean_a += np.float64(a[j]) if among[j] else 0.0
        mean_b += np.float64(b[j]) if among[j] else 0.0
    mean_a /= count
    mean_b /= count
    for j in range(len(a)):
        most_a = larger(abs(np.float64(a[j]) - mean_a) if among[j] else 0.0, most_a)
        most_b = larger(abs(np.float64(b[j]) - mean_b) if among[j] else 0.0, most_b)
    product, square_a, square_b = 0.0, 0.0, 0.0
    for j in range(len(a)):
        one = (np.float64(a[j]) - mean_a) / most_a if among[j] else 0.0
        other = (np.float64(b[j]) - mean_b) / most_b if among[j] else 0.0
        product += one * other
        square_a += one * one
        square_b += other * other
    return product / (np.sqrt(square_a) * np.sqrt(square_b))
