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

from kdanalysis.core.measures import Forward, Logs, Measure
from kdanalysis.core.sparse import SparseTeacher

TAILS = ("bucket", "renormalise", "none", "teacher")
NEVER = -1e4  # log-probability of an absent token on both sides: no weight, and a ratio of 1


class Side(NamedTuple):
    """What one side gives the tokens of S, and all others, at T."""

    inside: Float[Tensor, "n k"]  # log-probabilities renormalised over S
    log_mass: Float[Tensor, " n"]  # of S
    log_other: Float[Tensor, " n"]  # of the others

    def logs(self) -> Float[Tensor, "n k"]:
        """Log-probabilities of the tokens of S."""
        return self.inside + self.log_mass.unsqueeze(-1)


class Known(NamedTuple):
    """The tokens of S and the teacher's side of them."""

    ids: Int[Tensor, "n k"]  # where a token is absent, another one of the row
    present: Bool[Tensor, "n k"]
    teacher: Side


def dense_known(
    teacher: Float[Tensor, "n c"], ids: Int[Tensor, "n k"], temperature: float
) -> Known:
    """Take the tokens of a teacher whose logits are all there."""
    present = torch.ones_like(ids, dtype=torch.bool)
    return Known(ids, present, side(teacher, ids, present, temperature))


def sparse_known(teacher: SparseTeacher, like: Tensor) -> Known:
    """Take all tokens of a sparse teacher at its temperature, in the dtype of ``like``.

    Where the tail is not known the masses are NaN.
    """
    present = teacher.present
    some = teacher.ids.gather(-1, present.int().argmax(-1, keepdim=True))
    logs = teacher.inside()
    mass = logs.logsumexp(-1)
    inside = (logs - mass.unsqueeze(-1)).masked_fill(~present, NEVER)
    masses = (mass, teacher.tail()) if teacher.has_tail else (mass * torch.nan,) * 2
    one = Side(inside.to(like), *(log.to(like) for log in masses))
    return Known(torch.where(present, teacher.ids, some).long(), present, one)


def side(
    logits: Float[Tensor, "n c"],
    ids: Int[Tensor, "n k"],
    present: Bool[Tensor, "n k"],
    temperature: float,
) -> Side:
    """Split one side's softmax at T into S and the others."""
    return _split(logits, ids, present, temperature)[0]


def _split(
    logits: Float[Tensor, "n c"],
    ids: Int[Tensor, "n k"],
    present: Bool[Tensor, "n k"],
    temperature: float,
) -> tuple[Side, Float[Tensor, "n c"]]:
    """The same, and the weights of the others, which add up to no particular number, 0 in S."""
    soft = logits / temperature
    top = soft.gather(-1, ids).masked_fill(~present, -torch.inf)
    if torch.is_grad_enabled() and logits.requires_grad:
        others = soft.scatter(-1, ids, -torch.inf)
        peak = others.detach().amax(-1, keepdim=True)
        weights = (others - peak).exp()
    else:  # one array that is written over: large ones cost more than the arithmetic
        others = soft.scatter_(-1, ids, -torch.inf)
        peak = others.amax(-1, keepdim=True)
        weights = others.sub_(peak).exp_()
    high = top.detach().amax(-1, keepdim=True)  # each group less its own largest keeps its digits
    total = (top - high).exp().sum(-1).log(), weights.sum(-1).log()
    both = torch.stack((total[0], total[1] + (peak - high).squeeze(-1)))
    log_mass, log_other = both.log_softmax(0)
    inside = (top - high - total[0].unsqueeze(-1)).masked_fill(~present, NEVER)
    return Side(inside, log_mass, log_other), weights


def reduced(known: Known, student: Side, tail: str) -> tuple[Logs, Logs]:
    """Return log p and log q of the classes that a bucket or a renormalised S leaves."""
    if tail == "renormalise":
        return known.teacher.inside, student.inside
    log_p, log_q = (
        torch.cat((one.logs(), one.log_other.unsqueeze(-1)), -1) for one in (known.teacher, student)
    )
    return log_p, log_q


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
        known: the tokens and the teacher's side of them.
        temperature: T > 0.
        tail: the convention.
        outside: with "teacher" and the reverse KL, the teacher's log-probability of every other
            token.
    """
    ours, theirs = side(student, known.ids, known.present, temperature), known.teacher
    if tail in ("bucket", "renormalise"):
        return measure.value(*reduced(known, ours, tail))
    low = measure.value(theirs.inside, ours.inside)
    if tail == "none":
        gap = theirs.log_mass - ours.log_mass
        if isinstance(measure, Forward):
            return theirs.log_mass.exp() * (low + gap)
        return ours.log_mass.exp() * (low - gap)
    if isinstance(measure, Forward):
        return low - ours.log_mass
    inside = _others(student, known, temperature).log_softmax(-1)
    entropy = -(inside.exp() * inside.clamp(min=NEVER)).sum(-1)
    top = ours.log_mass.exp() * (low + ours.log_mass)
    return top + ours.log_other.exp() * (ours.log_other - entropy - outside)


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
    theirs = known.teacher
    ours, weights = _split(student, known.ids, known.present, temperature)
    if tail == "renormalise":
        return _lay(weights.zero_(), known, measure.slope(*reduced(known, ours, tail)))
    if tail == "bucket":
        change = measure.slope(*reduced(known, ours, tail))
        return _lay(_shared(weights, change[:, -1]), known, change[:, :-1])
    log_q, q_other = ours.logs(), ours.log_other.exp()
    log_p = theirs.logs() if tail == "none" else theirs.inside
    q = log_q.exp()
    if isinstance(measure, Forward):
        mass = theirs.log_mass.exp() if tail == "none" else torch.ones_like(q_other)
        change = mass.unsqueeze(-1) * q - log_p.exp()
        return _lay(_shared(weights, mass * q_other), known, change)
    ratio = log_q - log_p
    if tail == "none":
        drift = (q * (ratio + 1)).sum(-1)
        change = q * (ratio + 1 - drift.unsqueeze(-1))
        return _lay(_shared(weights, -drift * q_other), known, change)
    inside = _others(student, known, temperature).log_softmax(-1).clamp(min=NEVER)
    far = inside + (ours.log_other - outside).unsqueeze(-1)
    other = _shared(weights, q_other)
    drift = ((q * ratio).sum(-1) + (other * far).sum(-1)).unsqueeze(-1)
    return _lay(other * (far - drift), known, q * (ratio - drift))


def _shared(weights: Float[Tensor, "n c"], amount: Float[Tensor, " n"]) -> Float[Tensor, "n c"]:
    """Share an amount a row among the others by their weights, in their place."""
    return weights.mul_((amount / weights.sum(-1)).unsqueeze(-1))


def _others(
    student: Float[Tensor, "n c"], known: Known, temperature: float
) -> Float[Tensor, "n c"]:
    """Logits / T of the others, -inf inside S."""
    return (student / temperature).scatter(-1, known.ids, -torch.inf)


def _lay(
    others: Float[Tensor, "n c"], known: Known, change: Float[Tensor, "n k"]
) -> Float[Tensor, "n c"]:
    """Add what belongs to the tokens of S to what is zero there, in its place."""
    return others.scatter_add_(-1, known.ids, change.masked_fill(~known.present, 0.0))
