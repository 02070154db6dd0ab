"""Rows of a teacher of whom some classes are known, all others completed with the student's shape.

Of the unknown classes U the teacher has a mass P_U and no more. With p = c q there, c = P_U / Q_U,
every sum over U follows from those of q and q^2, in one pass over the student's logits; so does
|f q - p| = |f - c| q.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.truncation.algebra import Known, Rows, overlap_of
from kdanalysis.core.truncation.kept import SUMS


class Unknown(NamedTuple):
    """What the student has of the classes that are not known, at T."""

    logsumexp: Float[Tensor, " n"]  # of all its logits over T
    mass: Float[Tensor, " n"]  # Q_U
    square: Float[Tensor, " n"]  # sum of q^2 over U
    logs: Float[Tensor, " n"]  # sum of q log q over U


def rows_completed(
    student: Float[Tensor, "n c"],
    ids: Int[Tensor, "n k"],
    inside: Float[Tensor, "n k"],
    tail: Float[Tensor, " n"],
    ks: Sequence[int],
    temperature: float | int,
) -> tuple[Rows, Unknown]:
    """Return rows as ``rows_of`` lays them out, but for both sides at the other classes.

    Args:
        student: finite logits on the processor, float32 or float64.
        ids: known classes, the teacher's largest first; below 0 where there is none.
        inside: the teacher's log-probabilities of them at T, -inf where there is none.
        tail: log of P_U.
        ks: every K, ascending; each row knows at least the largest.
        temperature: T.
    """
    from kdanalysis.core.truncation import beside  # numba takes a while to load

    (n, classes), most = student.shape, ks[-1]
    theirs = torch.zeros(n, most, dtype=torch.long)
    top, entropy = torch.empty(3, n, most, dtype=torch.float64), torch.empty(n, dtype=torch.float64)
    sizes = len(Unknown._fields), SUMS + 1, 2 * len(ks), 2 * len(ks)
    about, tails, factors, apart = (entropy.new_empty(n, size) for size in sizes)
    logits, known, logs, others = (x.contiguous().numpy() for x in (student, ids, inside, tail))
    inverse, found = 1 / temperature, (about, top, tails, entropy, factors, apart)
    beside.beside(logits, known, inverse, theirs.numpy(), about.numpy())
    arrays = (x.numpy() for x in found)
    beside.complete(logits, known, logs, others, np.array(ks), inverse, *arrays)
    first = ids[:, :most].contiguous()
    shared = Known(first, overlap_of(first, theirs, classes), theirs[:, 0])
    return Rows(None, None, shared, *found[1:]), Unknown(*about.unbind(-1))
