"""Rows of a teacher of whom some classes are known, all others completed with the student's shape.

Of the unknown classes U the teacher has a mass P_U and no more. With p = c q there, c = P_U / Q_U,
every sum over U follows from those of q and q^2, in one pass over the student's logits; so does
|f q - p| = |f - c| q.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.special import entr

from kdanalysis.core.truncation.algebra import Known, Rows, factors_of, overlap_of

ROUNDING = 1e-12  # of a log-probability


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
    theirs, about = _unknown(student, ids, ks[-1], temperature)
    whole = torch.cat((inside, tail.unsqueeze(-1)), -1).logsumexp(-1)
    there, of_q = ids >= 0, about.logsumexp.unsqueeze(-1)
    log_q = student.gather(-1, ids.clamp(min=0)).double() / temperature - of_q
    log_p = _same_if_near(inside - whole.unsqueeze(-1), log_q)
    p, q = (log.exp().where(there, 0.0) for log in (log_p, log_q))
    u = (log_q - log_p).where(there, 0.0)
    log_c = _same_if_near(tail - whole - about.mass.log(), torch.zeros_like(tail))
    log_c = log_c.masked_fill(about.mass == 0, 0.0)
    most = ks[-1]
    known, more = (slice(most), slice(most, None))
    beyond = _summands(p[:, more], q[:, more], u[:, more]).sum(-1) + _of_unknown(about, log_c)
    apart = (q - p)[:, more].abs().sum(-1) + about.mass * log_c.expm1().abs()
    tails = torch.cat((beyond.t(), apart.unsqueeze(-1)), -1)
    c = log_c.exp()
    of_c = (c * about.mass * log_c).where(c > 0, 0.0)
    entropy = entr(p).sum(-1) - of_c - c * about.logs
    overlap = overlap_of(ids[:, :most].contiguous(), theirs, student.shape[1])
    top, shared = torch.stack((p, q, u))[..., known], Known(ids[:, known], overlap, theirs[:, 0])
    factors = factors_of(top, tails, ks)
    gaps = (factors.unsqueeze(-1) * q[:, None, more] - p[:, None, more]).abs().sum(-1)
    gaps += (factors - c.unsqueeze(-1)).abs() * about.mass.unsqueeze(-1)
    return Rows(None, None, shared, top, tails, entropy, factors, gaps), about


def _unknown(
    student: Tensor, ids: Tensor, k: int, temperature: float | int
) -> tuple[Int[Tensor, "n k"], Unknown]:
    """Return the student's k largest classes too, found while a row is in the cache."""
    from kdanalysis.core.truncation import loops  # numba takes a while to load

    found = torch.empty(len(student), len(Unknown._fields), dtype=torch.float64)
    theirs = torch.zeros(len(student), k, dtype=torch.long)
    arrays = (student.contiguous().numpy(), ids.contiguous().numpy())
    loops.beside(*arrays, 1 / temperature, theirs.numpy(), found.numpy())
    return theirs, Unknown(*found.unbind(-1))


def _summands(p: Tensor, q: Tensor, u: Tensor) -> Float[Tensor, "s n m"]:
    """What every class adds to the sums of its group; u = log(q/p)."""
    e = q - p
    return torch.stack((p, e, q, p * p, p * e, e * e, p * q, q * q, e - p * u))


def _of_unknown(about: Unknown, log_c: Float[Tensor, " n"]) -> Float[Tensor, "s n"]:
    """Sums over U, as ``Group`` has them: e = (1 - c) q."""
    c, less, q, qq = log_c.exp(), -log_c.expm1(), about.mass, about.square
    h = less * q + (c * q * log_c).where(c > 0, 0.0)
    sums = (c * q, less * q, q, c * c * qq, c * less * qq, less * less * qq, c * qq, qq, h)
    return torch.stack(sums)


def _same_if_near(log: Tensor, other: Tensor) -> Tensor:
    """The other logarithm where both differ by rounding, which would have a direction."""
    return torch.where((log - other).abs() <= ROUNDING, other, log)
