"""Loss: named terms per sample, and the closed-form gradient of every term."""

from abc import ABC, abstractmethod
from inspect import signature
from math import isfinite

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Real = int | float


class Loss(nn.Module, ABC):
    """Maps (student, teacher, target) to weighted terms per sample, T^2 included.

    The training loss is the mean over samples of the sum of the terms. ``terms`` holds their
    names. Logits in half precision are computed in float32 inside; float64 stays float64.
    The teacher's logits are constants: no gradient reaches them. ``term_weights`` holds every
    term's constant weight, without T^2; ``temperature`` is None where there is no single one.
    """

    terms: tuple[str, ...]
    term_weights: dict[str, Real]
    temperature: float | None = None

    def forward(
        self,
        student: Float[Tensor, "n c"],
        teacher: Float[Tensor, "n c"],
        target: Int[Tensor, " n"],
        ramp: Real = 1.0,
    ) -> dict[str, Float[Tensor, " n"]]:
        """Return the value of every term for every sample, in nats.

        Args:
            student: the student's logits.
            teacher: the teacher's logits.
            target: class indices.
            ramp: factor on the distillation terms (cross-entropy keeps its weight 1), for the
                linear warm-up of DKD and GDKD; see ``linear_ramp``.

        Raises:
            ValueError: shapes differ, a logit is NaN or infinite, or a target that the loss uses
                is no class index.
        """
        student, teacher = checked(student, teacher, target)
        return self.values(student, teacher.detach(), target, ramp)

    @torch.no_grad()
    def gradients(
        self,
        student: Float[Tensor, "n c"],
        teacher: Float[Tensor, "n c"],
        target: Int[Tensor, " n"],
        ramp: Real = 1.0,
    ) -> dict[str, Float[Tensor, "n c"]]:
        """Return the gradient of every term in the student's logits, one row a sample.

        Closed form, no backward pass; the keys are those of calling the loss. A batch mean's
        gradient is these rows divided by n. Arguments and errors as for calling the loss.
        """
        student, teacher = checked(student, teacher, target)
        return self.slopes(student, teacher, target, ramp)

    @abstractmethod
    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Compute the terms from checked logits."""

    @abstractmethod
    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Compute the terms' gradients from checked logits."""

    def __repr__(self) -> str:
        names = signature(type(self)).parameters
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"


def linear_ramp(epoch: Real, length: Real) -> float:
    """Warm-up factor min(epoch / length, 1); DKD and GDKD use length 20 on CIFAR-100."""
    if not (epoch >= 0 and length > 0):
        raise ValueError(f"need epoch >= 0 and length > 0, got epoch {epoch} and length {length}")
    return min(epoch / length, 1.0)


def check_temperature(temperature: Real) -> float:
    """Return it as a float; a ValueError where it is not a finite number above 0."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number above 0, got {temperature}")
    return float(temperature)


def checked(student: Tensor, teacher: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return both logits in one dtype of at least float32, refusing what no loss can use."""
    if student.shape != teacher.shape or student.dim() != 2 or target.shape != student.shape[:1]:
        raise ValueError(
            f"need student and teacher logits (n, c) and targets (n,), got student "
            f"{tuple(student.shape)}, teacher {tuple(teacher.shape)}, target {tuple(target.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    student, teacher = student.to(dtype), teacher.to(dtype)
    # One sum finds any NaN or inf at the cost of one pass and one wait for the device.
    if not isfinite((student.detach().sum() + teacher.detach().sum()).item()):
        _refuse_non_finite(student=student, teacher=teacher)
    return student, teacher


def _refuse_non_finite(**sides: Tensor) -> None:
    for side, logits in sides.items():
        bad = ~logits.isfinite()
        if bad.any():
            sample, index = bad.nonzero()[0].tolist()
            raise ValueError(
                f"{side} logits of sample {sample} hold {float(logits[sample, index])} at class "
                f"{index}; a loss needs finite logits ({int(bad.any(-1).sum())} of "
                f"{len(logits)} samples are affected)"
            )
