"""Loss: named terms per sample, and the closed-form gradient of every term."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from inspect import signature
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdanalysis.core.regions import count_regions
from kdanalysis.losses.registry import register

Real = int | float


class Loss(nn.Module, ABC):
    """Maps (student, teacher, target) to weighted terms per sample, T^2 included.

    A subclass keeps the constructor's arguments as attributes of their names, which can be set
    once: the repr gives them, and ``restore_loss`` makes the loss from it. It is known as soon as
    it is defined: ``class JSD(Loss, name="jsd")`` to ``parse_loss``, a loss around another by its
    ``prefixes``, each with the arguments that it stands for. ``colours`` of terms and the
    ``non_top`` ones, which teach the relations among the other classes, are for figures.

    The training loss is the mean over samples of the sum of the terms. Logits in half precision
    are computed in float32 inside; float64 stays float64.
    The teacher's logits are constants: no gradient reaches them. ``term_weights`` holds every
    term's constant weight, without T^2; ``temperature`` is None where there is no single one;
    ``needs_target`` says whether the labels matter, or any class indices will do. ``scales`` is
    None, or those of the regions of a loss that takes region logits (n, c, r) instead of logits
    (n, c) and gives gradients of that shape. ``stacked`` is None, or the number of logits that a
    loss takes of every sample's student side, (n, c, stacked), beside the teacher's (n, c).
    """

    term_weights: dict[str, float]
    temperature: float | None = None
    needs_target: bool = True
    scales: tuple[int, ...] | None = None
    stacked: int | None = None

    name: ClassVar[str] = ""
    prefixes: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    colours: ClassVar[Mapping[str, str]] = {}
    non_top: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls,
        name: str = "",
        prefixes: Mapping[str, Mapping[str, object]] | None = None,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        cls.name, cls.prefixes = name, prefixes or {}
        register(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it; the constructor's arguments once, so that a loss stays what its repr says."""
        known = name in vars(self) or name in vars(self).get("_modules", ())
        if known and name in signature(type(self)).parameters:
            raise AttributeError(f"{name} of a loss cannot be changed: make another one")
        super().__setattr__(name, value)

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms, in their order."""
        return tuple(self.term_weights)

    def forward(
        self,
        student: Float[Tensor, "n c *r"],
        teacher: Float[Tensor, "n c *t"],
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
        student, teacher = checked(student, teacher, target, self.scales, self.stacked)
        return self.values(student, teacher.detach(), target, check_ramp(ramp))

    if TYPE_CHECKING:  # torch says of a call that it takes and gives anything
        __call__ = forward

    @torch.no_grad()
    def gradients(
        self,
        student: Float[Tensor, "n c *r"],
        teacher: Float[Tensor, "n c *t"],
        target: Int[Tensor, " n"],
        ramp: Real = 1.0,
    ) -> dict[str, Float[Tensor, "n c *r"]]:
        """Return the gradient of every term in the student's logits, one row a sample.

        Closed form, no backward pass; the keys are those of calling the loss. A batch mean's
        gradient is these rows divided by n. Arguments and errors as for calling the loss.
        Absolute errors are of the order of T times the rounding of the logits' dtype: where both
        sides are confident of the same class the gradient is small, and float64 logits keep more
        of its digits.
        """
        student, teacher = checked(student, teacher, target, self.scales, self.stacked)
        return self.slopes(student, teacher, target, check_ramp(ramp))

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


def check_loss(loss: object) -> "Loss":
    """Return it, to be part of another; a ValueError where it is no loss that can be."""
    if not isinstance(loss, Loss):
        raise ValueError(f"need a kdanalysis loss such as KD(), got {loss!r:.80}")
    if loss.stacked is not None:
        raise ValueError(
            f"{type(loss).__name__} takes the logits of a student and its stones, and is no part "
            f"of another loss: give it the other loss as its base"
        )
    return loss


def check_temperature(temperature: Real) -> float:
    """Return it as a float; a ValueError where it is no number from 0.001 to 10 000.

    Beyond that float32 holds no digit of logits / T that matters; from about 100 upwards float64
    logits are the better input, since the terms are differences that shrink as T grows.
    """
    number = check_number("temperature", temperature)
    if not 1e-3 <= number <= 1e4:
        raise ValueError(f"temperature must lie between 0.001 and 10000, got {temperature!r}")
    return number


def check_number(name: str, number: object) -> float:
    """Return it as a float; a ValueError where it is no finite number, or one that learns."""
    if getattr(number, "requires_grad", False):
        raise ValueError(
            f"{name} must be a constant, got a tensor that requires a gradient: a loss keeps a "
            f"plain number, which would never learn"
        )
    try:
        value = float(number)
    except (TypeError, ValueError):
        value = nan
    if not isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {number!r}")
    return value


def check_ramp(ramp: Real) -> Real:
    """Return it; a ValueError where it is no finite number from 0."""
    if not 0 <= ramp < float("inf"):
        raise ValueError(f"ramp must be a finite number from 0, got {ramp!r}")
    return ramp


def checked(
    student: Any,
    teacher: Any,
    target: Any,
    scales: Sequence[int] | None = None,
    stacked: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return both logits in one dtype of at least float32, refusing what no loss can use.

    With ``scales`` they are region logits, with ``stacked`` the student's are so many a sample.
    """
    sides = {"student": student, "teacher": teacher, "target": target}
    for name, values in sides.items():
        if not isinstance(values, Tensor):
            raise ValueError(f"{name} must be a torch tensor, got {type(values).__name__}")
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise ValueError(f"target must hold class indices as integers, got {target.dtype}")
    _check_shapes(student, teacher, target, scales, stacked)
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    student, teacher = student.to(dtype), teacher.to(dtype)
    # One sum finds any NaN or inf at the cost of one pass and one wait for the device.
    if not isfinite((student.detach().sum() + teacher.detach().sum()).item()):
        part = "region" if stacked is None else "column"
        _refuse_non_finite(part, student=student, teacher=teacher)
    return student, teacher


def _check_shapes(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    scales: Sequence[int] | None,
    stacked: int | None,
) -> None:
    kind, last = "student and teacher logits (n, c)", ((), ())
    if stacked is not None:
        last = ((stacked,), ())
        kind = f"student logits (n, c, {stacked}) of itself and its stones, teacher logits (n, c)"
    if scales is not None:
        count = count_regions(scales)
        last = ((count,), (count,))
        kind = f"student and teacher region logits (n, c, {count}) of the scales {tuple(scales)}"
    shape = (len(target), *student.shape[1:2]) if target.dim() == 1 else (None,)
    fits = len(shape) == 2 and (student.shape, teacher.shape) == tuple(shape + x for x in last)
    if not fits:
        raise ValueError(
            f"need {kind} and targets (n,), got student "
            f"{tuple(student.shape)}, teacher {tuple(teacher.shape)}, target {tuple(target.shape)}"
        )


def _refuse_non_finite(part: str, **sides: Tensor) -> None:
    for side, logits in sides.items():
        bad = ~logits.isfinite()
        if bad.any():
            place = bad.nonzero()[0].tolist()
            value = float(logits.detach()[*place])
            sample, index, *last = place
            where = f"class {index}" + "".join(f" of {part} {r}" for r in last)
            raise ValueError(
                f"{side} logits of sample {sample} hold {value} at {where}; a loss "
                f"needs finite logits ({int(bad.flatten(1).any(-1).sum())} of {len(logits)} "
                f"samples are affected)"
            )
