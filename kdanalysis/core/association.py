"""Association of the rows of two matrices: how alike two sides rank and space the same entries.

Written as operations on whole arrays, for any device; where a processor has much to do,
``concordance`` does the same row by row. Kendall's pairs are counted by merging in O(m log^2 m) a
row, never one by one, and memory is a few copies of the input.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from kdanalysis.core.compiled import loops_serve
from kdanalysis.core.sweep.order import class_order

MEASURES = ("spearman", "kendall", "cosine", "order")


def associations(
    a: Float[Tensor, "n m"], b: Float[Tensor, "n m"], among: Bool[Tensor, "s n m"]
) -> tuple[Float[Tensor, "s n 4"], Bool[Tensor, "s n"]]:
    """Return the measures of every pair of rows over chosen entries, and which rows have them.

    - ``spearman``: Pearson correlation of the ranks, tied entries sharing their mean rank.
    - ``kendall``: tau-b, (C - D) / sqrt((P - A)(P - B)) with C, D, P the concordant, discordant
      and all pairs of entries, A, B the pairs tied in ``a`` and in ``b``.
    - ``cosine``: of both rows less their means (Pearson correlation of the entries themselves).
    - ``order``: C / (C + D), the share of pairs in the same order among those neither side ties.

    A constant row has no order, and a row of fewer than two entries no pair: such rows have none
    of the measures, and their numbers mean nothing.

    Args:
        a: one side.
        b: the other.
        among: the entries that count, as many in every row; several choices, looked at together.
    """
    if loops_serve(a):
        from kdanalysis.core.concordance import associated_rows  # numba takes a while to load

        return associated_rows(a, b, among)
    found = [_associated(*(x[one].view(len(x), -1) for x in (a, b))) for one in among]
    measures, defined = map(torch.stack, zip(*found, strict=True))
    return measures, defined


def _associated(a: Tensor, b: Tensor) -> tuple[Float[Tensor, "n 4"], Bool[Tensor, " n"]]:
    """The measures over all entries."""
    ranks, ties = zip(mean_ranks(a), mean_ranks(b), strict=True)
    concordant, discordant = ordered_pairs(*ranks, *ties)
    untied = [pairs_of(a.shape[-1]) - tied for tied in ties]
    kendall = (concordant - discordant) / (untied[0].double() * untied[1]).sqrt()
    order = concordant.double() / (concordant + discordant)
    # Cosines of doubled ranks: whole numbers, whose mean is m - 1 exactly.
    measures = (cosine(*ranks), kendall, cosine(a, b), order)
    return torch.stack(measures, -1).clamp(-1, 1), (untied[0] > 0) & (untied[1] > 0)


def mean_ranks(x: Float[Tensor, "n m"]) -> tuple[Int[Tensor, "n m"], Int[Tensor, " n"]]:
    """Twice the rank of every entry, 0 for the largest, ties sharing their mean; tied pairs."""
    order = class_order(x)
    ranked = x.gather(-1, order)
    first = run_starts(ranked)
    last = x.shape[-1] - 1 - run_starts(ranked.flip(-1)).flip(-1)
    return torch.empty_like(order).scatter_(-1, order, first + last), tied_pairs(ranked)


def ordered_pairs(
    a: Int[Tensor, "n m"],
    b: Int[Tensor, "n m"],
    tied_a: Int[Tensor, " n"],
    tied_b: Int[Tensor, " n"],
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Number of pairs that both sides order the same way, and the opposite way.

    Args:
        a: ranks of one side, below 2 m.
        b: those of the other.
        tied_a: pairs tied in ``a``.
        tied_b: pairs tied in ``b``.
    """
    both = 2 * a.shape[-1] * a + b  # by a; ties of a by b, so that they hold no inversion
    sort_in_place(both)
    discordant = inversions(both % (2 * a.shape[-1]))
    strict = pairs_of(a.shape[-1]) - tied_a - tied_b + tied_pairs(both)
    return strict - discordant, discordant


def inversions(values: Int[Tensor, "n m"]) -> Int[Tensor, " n"]:
    """Number of pairs whose first entry is the larger one, by row; the bottom-up merge sort.

    Where two sorted blocks are to be merged, every entry of the left one is inverted with all
    smaller ones of the right.
    """
    samples, size = values.shape
    whole = 1 << max(size - 1, 0).bit_length()
    values = pad(values, (0, whole - size), value=2**62)  # above all; a float holds it exactly
    count = torch.zeros(samples, dtype=torch.long, device=values.device)
    width = 1
    while width < whole:
        left, right = (half.contiguous() for half in values.view(samples, -1, 2, width).unbind(2))
        count += torch.searchsorted(right, left).sum((1, 2))
        width *= 2
        sort_in_place(values.view(samples, -1, width))
    return count


def run_starts(ranked: Tensor) -> Int[Tensor, "n m"]:
    """Place of the first of the equal entries that an entry of sorted rows stands among."""
    place = torch.arange(ranked.shape[-1], device=ranked.device).expand(ranked.shape)
    begins = torch.ones_like(ranked, dtype=torch.bool)
    begins[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    return torch.where(begins, place, 0).cummax(-1).values


def tied_pairs(ranked: Tensor) -> Int[Tensor, " n"]:
    """Number of pairs of equal entries in sorted rows."""
    return pairs_of(ranked.shape[-1]) - run_starts(ranked).sum(-1)


def pairs_of(size: int) -> int:
    """Number of pairs among so many entries."""
    return size * (size - 1) // 2


def cosine(a: Tensor, b: Tensor) -> Float[Tensor, " n"]:
    """Cosine of the rows less their means; the scale of a row does not matter, however small."""
    a, b = (x.double() - x.double().mean(-1, keepdim=True) for x in (a, b))
    a, b = (x / x.abs().amax(-1, keepdim=True) for x in (a, b))
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def sort_in_place(keys: Int[Tensor, "*s m"]) -> None:
    """Sort the last dimension; on CPU with numpy, several times as fast for whole numbers."""
    if keys.device.type == "cpu":
        keys.numpy().sort(-1)
    else:
        keys.copy_(keys.sort(-1).values)
