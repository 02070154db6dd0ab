"""Which call of the recorder is a step's first: some optimizers run a loss several times a step."""

import sys
import weakref
from types import FrameType

import torch
from torch import Tensor
from torch.optim import optimizer as optimizers

from kdanalysis.core.warn import warn

# targets, sample ids, what the teacher gave, and the student of the first sample
Batch = tuple[Tensor, Tensor | None, Tensor, Tensor]

_STEP = optimizers.Optimizer.profile_hook_step(lambda self: None).__code__  # of every optimizer


class Closures:
    """Knows the calls that an optimizer makes over again within one step, at other weights.

    LBFGS runs the closure that it is given several times, SAM moves the weights and runs the loss
    once more. Of the calls inside ``optimizer.step(closure)`` the first one for each batch counts,
    unless the same batch was counted right before that step began. Where no closure says which
    calls are one step, each counts, and what looks like SAM by hand is warned of.
    """

    def __init__(self) -> None:
        self._begun = 0  # steps of optimizers, one inside another not counted
        self._step = 0
        self._counted: list[Batch] = []  # for that step
        self._warned = False
        me = weakref.ref(self)
        self._handle = optimizers.register_optimizer_step_pre_hook(lambda *_: _begin(me()))

    def repeats(
        self, target: Tensor, sample_id: Tensor | None, student: Tensor, teacher: Tensor
    ) -> bool:
        """Say whether a call of the recorder with this batch is to be left out."""
        ids = None if sample_id is None else sample_id.clone()  # a buffer may be filled anew
        batch = target.clone(), ids, teacher.detach(), student[:1].detach().clone()
        if not _steps():
            self._warn_of_second(batch)
            self._step, self._counted = self._begun + 1, [batch]
            return False
        if self._step != self._begun:
            self._step, self._counted = self._begun, []
        if any(_same(batch, other) for other in self._counted):
            return True
        self._counted.append(batch)
        return False

    def _warn_of_second(self, batch: Batch) -> None:
        """Warn once where a batch comes again, the student changed, and no optimizer has stepped.

        Optimizers that are none of torch's are not seen to step: of those nothing is known.
        """
        if self._warned or not self._begun or self._step <= self._begun or not self._counted:
            return
        *given, student = zip(batch, self._counted[-1], strict=True)
        same = all(_equal(a, b) for a, b in given if a is not None and b is not None)
        self._warned = same and not _equal(*student)
        if self._warned:
            warn(
                f"a batch of {len(batch[0])} samples came twice in a row with no step of an "
                f"optimizer in between, and the student's logits changed: each call counts as a "
                f"step of its own. Where they are one step, as in SAM by hand, call loss(...) of "
                f"kdanalysis in the second pass, not the recorder, or run both in "
                f"optimizer.step(closure)"
            )

    def remove(self) -> None:
        """Take the hook off and let the batches go; a second time is harmless."""
        self._handle.remove()
        self._counted = []

    def begin(self) -> None:
        """Count a step that begins."""
        self._begun += len(_steps()) < 2


def _begin(closures: Closures | None) -> None:
    if closures is not None:
        closures.begin()


def _steps() -> list[FrameType]:
    """Return the frames of optimizers' steps that go on right now."""
    frame, found = sys._getframe(1), []
    while frame is not None:
        if frame.f_code is _STEP:
            found.append(frame)
        frame = frame.f_back
    return found


def _same(one: Batch, other: Batch) -> bool:
    """Whether two batches are the same: by sample ids, or else by targets and the teacher."""
    if one[1] is not None and other[1] is not None:
        return _equal(one[1], other[1])
    return _equal(one[0], other[0]) and _equal(one[2], other[2])


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other.to(one.device))
