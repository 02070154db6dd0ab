"""Sums over rows of the gradients that are lost, class by class, for a few K and all conventions.

On a row's other classes each of them is a q + b p, of which few sums are different; the many are
made of them at the end. At the known classes, which are few, each has entries of its own.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.truncation.algebra import CONVENTIONS, Rows, beyond, factors_of


def add_at_known(sums: Float[Tensor, "g c"], rows: Rows, ks: Sequence[int]) -> None:
    """Add what lies at the known classes of full KD's gradients and of those that are lost, over T.

    The first of the sums is full KD's, then comes every K of every convention.
    """
    p, q, _ = rows.top
    masses = rows.top[:2].cumsum(-1)[..., torch.tensor(ks) - 1], beyond(rows.top, rows.tail, ks)
    (of_p, of_q), (out_p, out_q) = (x.transpose(1, 2).unsqueeze(-1) for x in masses)  # (k, n, 1)
    inside = torch.arange(p.shape[-1]) < torch.tensor(ks)[:, None, None]  # (k, 1, m)
    missing = out_p / of_p * p
    gone = {
        "renormalise": torch.where(inside, missing - out_q / of_q * q, q - p),
        "bucket": torch.where(inside, 0.0, out_p / out_q * q - p),
        "none": out_p * q - torch.where(inside, 0.0, p),
        "teacher": torch.where(inside, missing, -p),
    }
    found = torch.cat([(q - p)[None], *(gone[name] for name in CONVENTIONS)]).flatten(1).to(sums)
    sums.index_add_(1, rows.known.classes.flatten().to(sums.device), found)


def add_at_others(sums: Float[Tensor, "g c"], rows: Rows, ks: Sequence[int]) -> None:
    """Add what all of these are made of at the other classes: q - p, p, and q by its factors.

    The factors are those of "bucket" for every K, then those of "none".
    """
    for p, q in zip(rows.p, rows.q, strict=True):
        sums[0] += (q - p).to(sums)
    sums[1] += rows.p.sum(0).to(sums)
    factors = factors_of(rows.top, rows.tail, ks)
    sums[2:].addmm_(factors.t().to(sums), rows.q.to(sums))


def lost_sums(
    at_known: Float[Tensor, "_ c"], at_others: Float[Tensor, "_ c"]
) -> Float[Tensor, "v k c"]:
    """Return the sums over rows of the lost gradients, over T, full KD's own last."""
    full, known = at_known[:1], at_known[1:].unflatten(0, (len(CONVENTIONS), -1))
    difference, p, of_q = at_others[:1], at_others[1:2], at_others[2:]
    bucket, none = (one - p for one in of_q.chunk(2))
    others = {"renormalise": difference, "bucket": bucket, "none": none, "teacher": -p}
    gone = [one + others[name] for one, name in zip(known, CONVENTIONS, strict=True)]
    return torch.stack([*gone, (full + difference).expand_as(bucket)])
