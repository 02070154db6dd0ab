"""A loss over many logits: some rows at a time, and closed forms in place of autograd's graph.

Of a vocabulary's logits a graph keeps up to a dozen arrays as large as they are. By rows a loss and
its backward pass need no more than the logits and their gradient, and stay in the cache; so do the
gradients of its terms. A loss of one's own goes through autograd, so that a wrong slope of it shows
in the residual. So does one with a partition of one's own, which may look at all rows, and what
looks through the operations: gradients of gradients, ``torch.compile``, ``torch.func`` and
derivatives in forward mode.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch._C._functorch import is_legacy_batchedtensor

from kdanalysis.core.compiled import is_seen_through
from kdanalysis.core.garbage import keep_freed_memory
from kdanalysis.core.partition import Partition
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.losses.sides import Side, promoted

AT_A_TIME = {"cpu": 2**19}  # logits of a side
ELSEWHERE = 2**25
PACKAGE = __name__.partition(".")[0]

Real = int | float


@runtime_checkable
class OfRows(Protocol):
    """What is asked of a loss here: its terms and their slopes, of rows, and what it is made of."""

    terms: tuple[str, ...]

    def modules(self) -> Iterator[nn.Module]:
        """Yield it and the losses in it."""

    def values(
        self, student: Tensor, teacher: Any, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Return the value (n,) of every term."""

    def slopes(
        self, student: Tensor, teacher: Any, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Return the gradient (n, c) of every term."""


def values_of(
    loss: OfRows, student: Tensor, teacher: Side, target: Tensor, ramp: Real
) -> dict[str, Tensor]:
    """Return ``loss.values`` of checked logits, of many by rows; in float32 at least."""
    if _is_few(loss, student):
        return _whole(loss, student, teacher, target, ramp)
    found = _ByRows.apply(student, loss, teacher, target.detach(), ramp)
    return dict(zip(loss.terms, found, strict=True))


def slopes_of(
    loss: OfRows, student: Tensor, teacher: Side, target: Tensor, ramp: Real
) -> dict[str, Tensor]:
    """Return ``loss.slopes`` of checked logits, of many by rows; in float32 at least."""
    if _is_few(loss, student):
        return loss.slopes(*promoted(student, teacher), target, ramp)
    keep_freed_memory()
    found: dict[str, Tensor] = {}
    with _numbered(lambda: loss.slopes(*promoted(student, teacher), target, ramp)):
        for rows, *some in _split(student, teacher, target, ramp):
            for name, part in loss.slopes(*some).items():
                if name not in found:
                    found[name] = part.new_empty(len(student), *part.shape[1:])
                found[name][rows] = part
    return found


def _is_few(loss: OfRows, student: Tensor) -> bool:
    """Whether logits are looked at all together, as what looks through a loss needs it, too."""
    few = student.numel() <= 2 * _most(student)
    return few or is_seen_through(student) or not is_own(loss)


@contextmanager
def _numbered(whole: Callable[[], object]) -> Iterator[None]:
    """Let an error be that of the whole, which numbers the rows as they are."""
    try:
        yield
    except ValueError:
        whole()
        raise


def is_own(loss: OfRows) -> bool:
    """Whether a loss and all that it is made of are the package's, whose slopes its tests hold."""
    losses = [one for one in loss.modules() if not isinstance(one, nn.ModuleList)]
    rules = [x for one in losses for x in vars(one).values() if isinstance(x, Partition)]
    packages = {type(one).__module__.partition(".")[0] for one in (*losses, *rules)}
    changed = any({"values", "slopes"} & vars(one).keys() for one in losses)
    return packages == {PACKAGE} and not changed


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, loss: OfRows, teacher: Side, target: Tensor, ramp: Real
    ) -> tuple[Tensor, ...]:
        keep_freed_memory()
        ctx.loss, ctx.ramp = loss, ramp
        ctx.sparse = teacher if isinstance(teacher, SparseTeacher) else None
        given = (target,) if ctx.sparse else (target, teacher)
        # autograd keeps no tensor of inference mode; a sparse teacher's are kept to be watched
        kept = [x.clone() if x.is_inference() else x for x in given]
        watched = [x for x in _tensors(ctx.sparse) if not x.is_inference()]
        ctx.save_for_backward(student, *kept, *watched)
        with _numbered(lambda: _whole(loss, student, teacher, target, ramp)):
            parts = [loss.values(*some) for _, *some in _split(student, teacher, target, ramp)]
        return tuple(torch.cat([part[name] for part in parts]) for name in loss.terms)

    @staticmethod
    def backward(ctx: Any, *of_terms: Tensor) -> tuple[Tensor | None, ...]:
        student, target, *more = ctx.saved_tensors
        loss, given = ctx.loss, (ctx.sparse or more[0], target, ctx.ramp)
        nothing = [None] * (1 + len(given))
        if torch.is_grad_enabled():
            student = student.view_as(student)  # hooks on the logits are not to run here, too
            values = _whole(loss, student, *given)
            pairs = zip((values[name] for name in loss.terms), of_terms, strict=True)
            found, upstream = zip(*(pair for pair in pairs if pair[0].requires_grad), strict=True)
            return *torch.autograd.grad(found, student, upstream, create_graph=True), *nothing
        if any(map(is_legacy_batchedtensor, of_terms)):  # several gradients at once
            seen = *promoted(student, given[0]), *given[1:]
            return _together(loss.terms, loss.slopes(*seen), of_terms).to(student.dtype), *nothing
        slope = torch.empty_like(student)
        for rows, *some in _split(student, *given):
            of_rows = [one[rows] for one in of_terms]
            slope[rows] = _together(loss.terms, loss.slopes(*some), of_rows)
        return slope, *nothing


def _together(
    terms: Sequence[str], slopes: dict[str, Tensor], of_terms: Sequence[Tensor]
) -> Tensor:
    """Add up the terms' slopes, each row by its own factor."""
    last = (1,) * (slopes[terms[0]].dim() - 1)
    return sum(slopes.pop(k) * of.view(-1, *last) for k, of in zip(terms, of_terms, strict=True))


def _whole(
    loss: OfRows, student: Tensor, teacher: Side, target: Tensor, ramp: Real
) -> dict[str, Tensor]:
    return loss.values(*promoted(student, teacher), target, ramp)


def _most(student: Tensor) -> int:
    return AT_A_TIME.get(student.device.type, ELSEWHERE)


def _split(student: Tensor, teacher: Side, target: Tensor, ramp: Real) -> Iterator[tuple]:
    """Yield some rows, and what a loss takes of them."""
    step = max(1, _most(student) * len(student) // student.numel())
    for start, end in pairwise([*range(0, len(student), step), len(student)]):
        rows = slice(start, end)
        yield rows, *promoted(student[rows], teacher[rows]), target[rows], ramp


def _tensors(one: Any) -> Iterator[Tensor]:
    """The tensors of a sparse teacher."""
    inside = vars(one) if isinstance(one, SparseTeacher) else one
    if isinstance(inside, Tensor):
        yield inside
    elif isinstance(inside, dict | tuple):
        for part in inside.values() if isinstance(inside, dict) else inside:
            yield from _tensors(part)
