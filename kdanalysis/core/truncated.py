"""Divergences of which the teacher gives K tokens: what becomes of the others, and its gradient.

With S the K tokens, O the others, P and Q the masses of S under teacher and student, there are
four conventions:

    bucket       one more class for O
    renormalise  both sides inside S
    none         the sum over S of p log(p / q), of probabilities that do not add up to 1
    teacher      the teacher renormalised inside S, the student over the whole vocabulary

Every loss here is a function of log q of the tokens in S and of log Q_O. With a and a_O its
derivatives in them and A = sum a + a_O, its gradient in the student's logits over T is
a - A q inside S and q|O (a_O - A Q_O) outside.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.core.divergence import divergence_terms
from kdanalysis.core.measures import Forward, Measure
from kdanalysis.core.sparse import SparseTeacher

TAILS = ("bucket", "renormalise", "none", "teacher")
NEVER = -1e4  # log-probability of an absent token on both sides: no weight, and a ratio of 1


class Known(NamedTuple):
    """The tokens of S and what the teacher says of them, at T."""

    ids: Int[Tensor, "n k"]  # where a token is absent, another one of the row
    present: Bool[Tensor, "n k"]
    log_p: Float[Tensor, "n k"]
    log_other: Float[Tensor, " n"] | None  # None: not known


class Student(NamedTuple):
    """The student's side of the same tokens, at T."""

    log_q: Float[Tensor, "n k"]
    log_other: Float[Tensor, " n"]


def dense_known(
    teacher: Float[Tensor, "n c"], ids: Int[Tensor, "n k"], temperature: float
) -> Known:
    """Take the tokens of a teacher whose logits are all there."""
    soft = teacher / temperature
    whole = soft.logsumexp(-1, keepdim=True)
    other = soft.scatter(-1, ids, -torch.inf).logsumexp(-1) - whole.squeeze(-1)
    return Known(ids, torch.ones_like(ids, dtype=torch.bool), soft.gather(-1, ids) - whole, other)


def sparse_known(teacher: SparseTeacher, like: Tensor) -> Known:
    """Take all tokens of a sparse teacher at its temperature, in the dtype of ``like``."""
    present = teacher.present
    some = teacher.ids.long().gather(-1, present.int().argmax(-1, keepdim=True))
    ids = torch.where(present, teacher.ids.long(), some)
    inside = teacher.inside()
    if not teacher.has_tail:
        inside = inside - inside.logsumexp(-1, keepdim=True)
    other = teacher.tail().to(like) if teacher.has_tail else None
    return Known(ids, present, inside.masked_fill(~present, NEVER).to(like), other)


def student_side(student: Float[Tensor, "n c"], known: Known, temperature: float) -> Student:
    """Return the student's log-probabilities of the same tokens and of all others."""
    soft = student / temperature
    whole = soft.logsumexp(-1, keepdim=True)
    log_q = (soft.gather(-1, known.ids) - whole).masked_fill(~known.present, NEVER)
    other = soft.scatter(-1, known.ids, -torch.inf).logsumexp(-1) - whole.squeeze(-1)
    return Student(log_q, other)


def reduced(
    known: Known, student: Student, tail: str
) -> tuple[Float[Tensor, "n _"], Float[Tensor, "n _"]]:
    """Return log p and log q of the classes that a bucket or a renormalised S leaves."""
    if tail == "bucket":
        both = (known.log_p, known.log_other), (student.log_q, student.log_other)
        log_p, log_q = (torch.cat((logs, other.unsqueeze(-1)), -1) for logs, other in both)
        return log_p, log_q
    return tuple(_inside(logs, known.present) for logs in (known.log_p, student.log_q))


def _inside(logs: Float[Tensor, "n k"], present: Bool[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Log-probabilities renormalised over the tokens that are there."""
    return (logs - logs.logsumexp(-1, keepdim=True)).masked_fill(~present, NEVER)


def value(
    measure: Measure,
    student: Float[Tensor, "n c"],
    known: Known,
    temperature: float,
    tail: str,
    outside: float = -100.0,
) -> Float[Tensor, " n"]:
    """Return the divergence in nats, without T^2; with "none" it may be negative.

    Args:
        measure: forward or reverse KL; any with "bucket" and "renormalise".
        student: logits.
        known: the teacher's side.
        temperature: T > 0.
        tail: the convention.
        outside: with "teacher" and the reverse KL, the teacher's log-probability of all others.
    """
    side = student_side(student, known, temperature)
    if tail in ("bucket", "renormalise"):
        return measure.value(*reduced(known, side, tail))
    log_p, log_q = known.log_p, side.log_q
    mass_p, mass_q = (logs.logsumexp(-1) for logs in (log_p, log_q))
    if isinstance(measure, Forward):
        if tail == "none":
            return divergence_terms(log_p, log_q).sum(-1) + mass_p.exp() - mass_q.exp()
        low = measure.value(_inside(log_p, known.present), _inside(log_q, known.present))
        return low - mass_q
    if tail == "none":
        return divergence_terms(log_q, log_p).sum(-1) + mass_q.exp() - mass_p.exp()
    top = divergence_terms(log_q, _inside(log_p, known.present)).sum(-1) + mass_q.exp() - 1
    log_in = _others(student, known, temperature).log_softmax(-1)
    entropy = -(log_in.exp() * log_in.clamp(min=NEVER)).sum(-1)
    return top + side.log_other.exp() * (side.log_other - entropy - outside)


@torch.no_grad()
def slope(
    measure: Measure,
    student: Float[Tensor, "n c"],
    known: Known,
    temperature: float,
    tail: str,
    outside: float = -100.0,
) -> Float[Tensor, "n c"]:
    """Return the gradient of ``value`` in the student's logits, times T."""
    side = student_side(student, known, temperature)
    inside = _others(student, known, temperature).softmax(-1)
    q, q_other = side.log_q.exp(), side.log_other.exp()
    if tail == "bucket":
        change = measure.slope(*reduced(known, side, tail))
        return _lay(inside * change[:, -1:], known, change[:, :-1])
    if tail == "renormalise":
        change = measure.slope(*reduced(known, side, tail))
        return _lay(torch.zeros_like(inside), known, change)
    whole = known.log_p.logsumexp(-1, keepdim=True)
    if isinstance(measure, Forward):
        mass = whole.exp() if tail == "none" else torch.ones_like(whole)
        p = known.log_p.exp() if tail == "none" else (known.log_p - whole).exp()
        return _lay(inside * (mass * q_other.unsqueeze(-1)), known, mass * q - p)
    log_p = known.log_p if tail == "none" else known.log_p - whole
    ratio = (side.log_q - log_p).masked_fill(~known.present, 0.0)
    if tail == "none":
        drift = (q * (ratio + 1)).sum(-1, keepdim=True)
        return _lay(-inside * drift * q_other.unsqueeze(-1), known, q * (ratio + 1 - drift))
    far = torch.where(inside > 0, inside.log(), 0.0) + (side.log_other - outside).unsqueeze(-1)
    other = q_other.unsqueeze(-1) * inside
    drift = (q * ratio).sum(-1, keepdim=True) + (other * far).sum(-1, keepdim=True)
    return _lay(other * (far - drift), known, q * (ratio - drift))


def _others(
    student: Float[Tensor, "n c"], known: Known, temperature: float
) -> Float[Tensor, "n c"]:
    """Logits / T of the others, -inf inside S."""
    return (student / temperature).scatter(-1, known.ids, -torch.inf)


def _lay(
    others: Float[Tensor, "n c"], known: Known, change: Float[Tensor, "n k"]
) -> Float[Tensor, "n c"]:
    """Add what belongs to the tokens of S to what is zero there."""
    return others.scatter_add(-1, known.ids, change.masked_fill(~known.present, 0.0))
