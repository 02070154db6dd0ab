"""A loss over many logits: some rows at a time, and closed forms in place of autograd's graph.

Of a vocabulary's logits a graph keeps up to a dozen arrays as large as they are. By rows a loss and
its backward pass need no more than the logits and their gradient, and stay in the cache. A loss of
one's own goes through autograd, so that a wrong slope of it shows in the residual. So does what
looks through the operations: gradients of gradients, ``torch.compile``, ``torch.func`` and
derivatives in forward mode.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdanalysis.core.compiled import is_seen_through
from kdanalysis.core.garbage import keep_freed_memory
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.losses.sides import Side, promoted

if TYPE_CHECKING:
    from kdanalysis.losses.base import Loss, Real

AT_A_TIME = {"cpu": 2**19}  # logits of a side
ELSEWHERE = 2**25
PACKAGE = __name__.partition(".")[0]


def values_of(loss: "Loss", student: Tensor, teacher: Side, *given: Any) -> dict[str, Tensor]:
    """Return ``loss.values`` of checked logits, of many by rows; in float32 at least."""
    if student.numel() <= 2 * _most(student) or is_seen_through(student) or not is_own(loss):
        return _whole(loss, student, teacher, *given)
    return dict(zip(loss.terms, _ByRows.apply(student, loss, teacher, *given), strict=True))


def is_own(loss: "Loss") -> bool:
    """Whether a loss and all losses in it are the package's, whose slopes its tests hold."""
    inside = [type(one) for one in loss.modules() if not isinstance(one, nn.ModuleList)]
    return all(kind.__module__.partition(".")[0] == PACKAGE for kind in inside)


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, loss: "Loss", *given: Any) -> tuple[Tensor, ...]:
        keep_freed_memory()
        ctx.loss, ctx.given = loss, given
        # kept beside the logits so that a change of theirs in between is an error
        ctx.save_for_backward(student, *(x for x in _constants(given) if not x.is_inference()))
        try:
            parts = [loss.values(*some) for _, *some in _split(student, *given)]
        except ValueError:
            _whole(loss, student, *given)  # which numbers the rows as they are
            raise
        return tuple(torch.cat([part[name] for part in parts]) for name in loss.terms)

    @staticmethod
    def backward(ctx: Any, *of_terms: Tensor) -> tuple[Tensor | None, ...]:
        student, loss, given = ctx.saved_tensors[0], ctx.loss, ctx.given
        if torch.is_grad_enabled():
            values = _whole(loss, student, *given)
            pairs = zip((values[name] for name in loss.terms), of_terms, strict=True)
            found, upstream = zip(*(pair for pair in pairs if pair[0].requires_grad), strict=True)
            (slope,) = torch.autograd.grad(found, student, upstream, create_graph=True)
            return slope, *[None] * (1 + len(given))
        slope = torch.empty_like(student)
        for rows, *some in _split(student, *given):
            slopes, found = loss.slopes(*some), torch.zeros_like(some[0])
            for name, of_term in zip(loss.terms, of_terms, strict=True):
                factor = of_term[rows].view(-1, *[1] * (student.dim() - 1))
                found.addcmul_(slopes.pop(name), factor)
            slope[rows] = found
        return slope, *[None] * (1 + len(given))


def _whole(loss: "Loss", student: Tensor, teacher: Side, *given: Any) -> dict[str, Tensor]:
    return loss.values(*promoted(student, teacher), *given)


def _most(student: Tensor) -> int:
    return AT_A_TIME.get(student.device.type, ELSEWHERE)


def _split(student: Tensor, teacher: Side, target: Tensor, ramp: "Real") -> Iterator[tuple]:
    """Yield some rows, and what a loss takes of them."""
    step = max(1, _most(student) * len(student) // student.numel())
    for start, end in pairwise([*range(0, len(student), step), len(student)]):
        rows = slice(start, end)
        yield rows, *promoted(student[rows], teacher[rows]), target[rows], ramp


def _constants(given: tuple[Any, ...]) -> Iterator[Tensor]:
    """The tensors of a teacher, sparse or not, and of targets."""
    for one in given:
        held = vars(one).values() if isinstance(one, SparseTeacher) else [one]
        yield from (x for x in held if isinstance(x, Tensor))
