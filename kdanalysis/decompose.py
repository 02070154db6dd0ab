"""Exact split of the distillation divergence over a partition of the classes."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

DIVERGENCES = ("forward", "reverse", "both")


class Decomposition(NamedTuple):
    """Parts of KL(teacher || student) per sample in nats, before any weight or factor T^2."""

    high: Float[Tensor, " n"]  # KL between the group masses
    low: Float[Tensor, "n g"]  # divergence inside each group, both sides renormalised
    mass: Float[Tensor, "n g"]  # teacher mass of each group


def decompose(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    groups: Int[Tensor, "n c"],
    num_groups: int,
    temperature: int | float = 1.0,
    divergence: str = "forward",
) -> Decomposition:
    """Split KL(p || q) by the chain rule, p = softmax(teacher / T) and q = softmax(student / T).

        KL(p || q) = KL(P || Q) + sum_g P_g KL(p|g || q|g)

    P_g and Q_g are the masses of group g, p|g and q|g the distributions renormalised inside g.
    The identity holds for every partition without empty groups; KD, DKD and GDKD differ only in
    the weights they give to the parts. ``divergence`` replaces the parts inside the groups by
    KL(q|g || p|g) ("reverse") or by the mean of the two directions ("both").
    """
    member, inside = _split(student, teacher, groups, num_groups, temperature)
    log_q_mass, log_p_mass = inside.logsumexp(-1).log_softmax(-1)
    own = groups.expand(2, *groups.shape).unsqueeze(2)
    log_q, log_p = inside.log_softmax(-1).gather(2, own).squeeze(2)
    low = _directed(log_p, log_q, divergence).unsqueeze(1).where(member, 0.0).sum(-1)
    return Decomposition(divergence_terms(log_p_mass, log_q_mass).sum(-1), low, log_p_mass.exp())


def divergence_terms(
    log_p: Float[Tensor, "*shape c"], log_q: Float[Tensor, "*shape c"]
) -> Float[Tensor, "*shape c"]:
    """Return p log(p/q) - p + q elementwise; over a distribution it sums to KL(p || q), in nats.

    No term is negative and each is second order in log(p/q), so that the sum keeps its digits
    where the student is close to the teacher. Both arguments must be finite.
    """
    log_ratio = log_p - log_q
    close = log_ratio.abs() < 0.5
    small = log_ratio.where(close, 0.0)
    p = log_p.exp()
    return torch.where(
        close,
        p * ((-small).expm1() + small),  # e^-u - 1 + u without cancellation
        p * log_ratio + (log_q.exp() - p),
    )


def _directed(log_p: Tensor, log_q: Tensor, divergence: str) -> Tensor:
    if divergence == "forward":
        return divergence_terms(log_p, log_q)
    if divergence == "reverse":
        return divergence_terms(log_q, log_p)
    return (divergence_terms(log_p, log_q) + divergence_terms(log_q, log_p)) / 2


def _split(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    groups: Int[Tensor, "n c"],
    num_groups: int,
    temperature: int | float,
) -> tuple[Bool[Tensor, "n g c"], Float[Tensor, "2 n g c"]]:
    """Membership, and both sides' logits / T with -inf outside the group."""
    ids = torch.arange(num_groups, device=groups.device).unsqueeze(-1)
    member = groups.unsqueeze(1) == ids
    both = torch.stack((student, teacher)) / temperature
    return member, both.unsqueeze(2).masked_fill(~member, float("-inf"))
