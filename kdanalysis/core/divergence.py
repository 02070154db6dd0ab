"""Exact split of the distillation divergence over a partition of the classes.

Groups are given as ``Partition.members`` gives them. Written as operations on whole arrays, for any
device and for autograd; where a processor needs no graph, ``loops`` does the same in one pass.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.compiled import is_seen_through, loops_serve
from kdanalysis.core.partition import Members

DIVERGENCES = ("forward", "reverse", "both")
FAR = 40.0  # of log(q / p): beyond it p log(p / q) - p is lost in the rounding of q


class Decomposition(NamedTuple):
    """Parts of KL(teacher || student) per sample in nats, before any weight or factor T^2."""

    high: Float[Tensor, " n"]  # KL between the group masses
    low: Float[Tensor, "n g"]  # divergence inside each group, both sides renormalised
    mass: Float[Tensor, "n g"]  # teacher mass of each group


class Slopes(NamedTuple):
    """Gradients in the student logits of weight * T^2 times the parts of a ``Decomposition``."""

    high: Float[Tensor, "n c"]
    low: tuple[Float[Tensor, "n c"], ...]  # one a group


class _Group(NamedTuple):
    """Both sides of a group, the student's first."""

    classes: Int[Tensor, "n k"] | None  # None: all classes, those outside without probability
    shifted: Float[Tensor, "2 n k"]  # logits / T less the group's largest
    inside: Float[Tensor, "2 n k"]  # softmax at T
    log_total: Float[Tensor, "2 n 1"]  # logsumexp of the shifted logits
    log_mass: Float[Tensor, "2 n 1"]  # logsumexp of the logits / T

    def ratio(self) -> Float[Tensor, "n k"]:
        """Log of q / p in the group; 0 outside."""
        return self.shifted[0] - self.shifted[1] - (self.log_total[0] - self.log_total[1])

    def placed(self, part: Float[Tensor, "n k"], like: Tensor) -> Float[Tensor, "n c"]:
        """Lay what belongs to the group's classes on all classes."""
        if self.classes is None:
            return part
        return torch.zeros_like(like).scatter_(-1, self.classes, part)


def decompose(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    members: Members,
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
    if _is_compiled(student, teacher, members, divergence):
        from kdanalysis.core.loops import decompose_rows

        return Decomposition(*decompose_rows(student, teacher, members[:-1], temperature))
    if _is_followed(student, teacher):
        return Decomposition(*_ClosedForm.apply(student, teacher, members, temperature, divergence))
    return _parts(_split(student, teacher, members, temperature), divergence)


class _ClosedForm(torch.autograd.Function):
    """Its gradients are the closed forms, without a graph; those with one are autograd's."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, members: Members, *how: Any) -> Any:
        # autograd keeps no tensor that was made in inference mode
        known = (
            x.clone() if x is not None and x.is_inference() else x for x in (teacher, *members)
        )
        ctx.save_for_backward(student, *known)
        ctx.how = how
        found = decompose(student, teacher, members, *how)
        ctx.mark_non_differentiable(found.mass)
        return found

    @staticmethod
    def backward(ctx: Any, of_high: Tensor, of_low: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (student, teacher, *members), how = ctx.saved_tensors, ctx.how
        temperature, divergence = how
        if torch.is_grad_enabled():
            student = student.view_as(student)  # hooks on the logits are not to run here, too
            parts = _parts(_split(student, teacher, members, temperature), divergence)
            given = parts[:2], student, (of_high, of_low)
            return *torch.autograd.grad(*given, create_graph=True), *[None] * 4
        unit = temperature**-2
        if members == [None] and divergence == "forward":
            return whole_slopes(student, teacher, unit, temperature) * of_low, *[None] * 4
        high, low = slopes(student, teacher, members, [unit] * (1 + len(members)), *how)
        slope = high * of_high.unsqueeze(-1)
        for part, of_part in zip(low, of_low.unbind(-1), strict=True):
            slope = slope.addcmul(part, of_part.unsqueeze(-1))
        return slope, *[None] * 4


def _parts(groups: Sequence[_Group], divergence: str) -> Decomposition:
    log_q, log_p = torch.stack([g.log_mass for g in groups]).log_softmax(0).squeeze(-1).unbind(1)
    low = [_directed(*g.inside, g.ratio(), divergence).sum(-1) for g in groups]
    high = divergence_terms(log_p, log_q).sum(0)
    return Decomposition(high, torch.stack(low, -1), log_p.exp().t())


def divergence_terms(
    log_p: Float[Tensor, "*shape c"], log_q: Float[Tensor, "*shape c"]
) -> Float[Tensor, "*shape c"]:
    """Return p log(p/q) - p + q elementwise; over a distribution it sums to KL(p || q), in nats.

    No term is negative and each is second order in log(p/q), so that the sum keeps its digits
    where the student is close to the teacher. Both arguments must be finite.
    """
    return _terms(log_p.exp(), log_q.exp(), log_q - log_p)


def _terms(p: Tensor, q: Tensor, ratio: Tensor) -> Tensor:
    """The same from both sides and log(q/p): p (e^u - 1 - u), u = log(q/p)."""
    near = ratio.clamp(max=FAR)
    return torch.where(ratio > FAR, q, p * (near.expm1() - near))


def _directed(q: Tensor, p: Tensor, ratio: Tensor, divergence: str) -> Tensor:
    if divergence == "forward":
        return _terms(p, q, ratio)
    if divergence == "reverse":
        return _terms(q, p, -ratio)
    return (_terms(p, q, ratio) + _terms(q, p, -ratio)) / 2


@torch.no_grad()
def slopes(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    members: Members,
    weights: Sequence[int | float],
    temperature: int | float = 1.0,
    divergence: str = "forward",
    by_mass: bool | Sequence[bool] = False,
) -> Slopes:
    """Return the gradients for any partition; no graph is kept of them.

    Args:
        student: logits.
        teacher: logits.
        members: the groups.
        weights: of the high part, then of every group's low part.
        temperature: T > 0.
        divergence: direction of the low parts: "forward", "reverse" or "both" (their mean).
        by_mass: whether every low part, or which, is weighed by the teacher's mass of its group as
            well, as in plain KD.
    """
    heavy = [by_mass] * len(members) if isinstance(by_mass, bool) else list(by_mass)
    scale, *scales = [temperature * weight for weight in weights]
    if _is_compiled(student, teacher, members, divergence):
        from kdanalysis.core.loops import slope_rows

        weights = scale, *scales
        return Slopes(*slope_rows(student, teacher, members[:-1], weights, temperature, heavy))
    groups = _split(student, teacher, members, temperature)
    q_mass, p_mass = torch.stack([g.log_mass for g in groups]).softmax(0).unbind(1)
    change = q_mass - p_mass
    # The largest group's change is that of the others, whose masses have more digits.
    change = torch.where(p_mass > 0.5, change - change.sum(0, keepdim=True), change).mul_(scale)
    high, low = torch.zeros_like(student), []
    for group, moved, mass, factor, one in zip(groups, change, p_mass, scales, heavy, strict=True):
        part = _low(group, divergence).mul_(factor * mass if one else factor)
        low.append(group.placed(part, student))
        high += group.placed(group.inside[0] * moved, student)
    return Slopes(high, tuple(low))


def whole_slopes(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    weight: int | float,
    temperature: int | float = 1.0,
) -> Float[Tensor, "n c"]:
    """Return the gradient of weight * T^2 KL(p || q) over all classes: weight * T (q - p).

    No graph is kept of it.
    """
    scale = weight * temperature
    if loops_serve(student):
        from kdanalysis.core.loops import whole_slope_rows

        return whole_slope_rows(student, teacher, scale, temperature)
    q, p = ((x.detach() / temperature).softmax(-1) for x in (student, teacher))
    return q.sub_(p).mul_(scale)


def _low(group: _Group, divergence: str) -> Float[Tensor, "n k"]:
    q, p = group.inside
    if divergence == "forward":
        return q - p
    ratio = group.ratio()
    reverse = q * (ratio - (q * ratio).sum(-1, keepdim=True))
    return reverse if divergence == "reverse" else (q - p + reverse) / 2


def _split(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    members: Members,
    temperature: int | float,
) -> list[_Group]:
    both, groups = torch.stack((student, teacher)) / temperature, []
    never = torch.finfo(both.dtype).min / 2  # finite: two of them have a ratio
    for member in members:
        if member is None or member.dtype == torch.bool:
            classes, logits = None, both if member is None else both.masked_fill(~member, never)
        else:
            classes, index = member, member.expand(2, *member.shape)
            logits, both = both.gather(-1, index), both.scatter(-1, index, never)
        peak = logits.detach().amax(-1, keepdim=True)
        shifted = logits - peak
        weight = shifted.exp()
        total = weight.sum(-1, keepdim=True)
        log_total = total.log()
        groups.append(_Group(classes, shifted, weight / total, log_total, log_total + peak))
    return groups


def _is_compiled(student: Tensor, teacher: Tensor, members: Members, divergence: str) -> bool:
    """Whether the loops serve: also no graph, and as many classes for every sample."""
    known = members[-1] is None and divergence == "forward"
    graph = torch.is_grad_enabled() and (student.requires_grad or teacher.requires_grad)
    return known and not graph and loops_serve(student)


def _is_followed(student: Tensor, teacher: Tensor) -> bool:
    """Whether plain autograd alone follows the student's logits, whose gradients are known."""
    graph = torch.is_grad_enabled() and student.requires_grad and not teacher.requires_grad
    return graph and not is_seen_through(student)
