"""Loss: named terms per sample, and the closed-form gradient of every term."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from kdanalysis.core.arguments import fitted, typed
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.losses.by_rows import Real, slopes_of, values_of
from kdanalysis.losses.registry import register
from kdanalysis.losses.sides import Labels, Side, checked, checked_sparse, is_soft


class Loss(nn.Module, ABC):
    """Maps (student, teacher, target) to weighted terms per sample, T^2 included.

    A subclass keeps the constructor's arguments as attributes of their names, which can be set
    once: the repr gives them, and ``restore_loss`` makes the loss from it. It is known as soon as
    it is defined: ``class JSD(Loss, name="jsd")`` to ``parse_loss``, a loss around another by its
    ``prefixes``, each with the arguments that it stands for, and by the names of its ``presets``,
    each with the options that it begins with. Its constructor takes what its annotations say and
    nothing else (see ``typed``). ``colours`` of terms and the
    ``non_top`` ones, which teach the relations among the other classes, are for figures.

    The training loss is the mean over samples of the sum of the terms. Logits in half precision
    are computed in float32 inside; float64 stays float64.
    The teacher's logits are constants: no gradient reaches them. ``term_weights`` holds every
    term's constant weight, without T^2; ``temperature`` is None where there is no single one;
    ``needs_target`` says whether the labels matter, or any class indices will do; ``ignore_index``
    which label stands for none, None where every sample needs one; ``distributions`` whether
    targets over the classes must add up to 1, where such targets are taken. ``scales`` is
    None, or those of the regions of a loss that takes region logits (n, c, r) instead of logits
    (n, c) and gives gradients of that shape. ``stacked`` is None, or the number of logits that a
    loss takes of every sample's student side, (n, c, stacked), beside the teacher's (n, c).
    """

    term_weights: dict[str, float]
    temperature: float | None = None
    needs_target: bool = True
    ignore_index: int | None = None
    distributions: bool = True
    scales: tuple[int, ...] | None = None
    stacked: int | None = None

    name: ClassVar[str] = ""
    prefixes: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    colours: ClassVar[Mapping[str, str]] = {}
    non_top: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls,
        name: str = "",
        prefixes: Mapping[str, Mapping[str, object]] | None = None,
        presets: Mapping[str, Mapping[str, object]] | None = None,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        cls.name, cls.prefixes, cls.presets = name, prefixes or {}, presets or {}
        if "__init__" in vars(cls):
            typed(cls)
        register(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it; the constructor's arguments once, so that a loss stays what its repr says."""
        known = name in vars(self) or name in vars(self).get("_modules", ())
        if known and name in signature(type(self)).parameters:
            raise AttributeError(f"{name} of a loss cannot be changed: make another one")
        super().__setattr__(name, value)

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms, in their order; a ValueError where none were declared."""
        if (weights := getattr(self, "term_weights", None)) is None:
            raise ValueError(
                f"{type(self).__name__} has no term_weights: its constructor must set them, the "
                f"terms with their constant weights"
            )
        return tuple(weights)

    def forward(
        self,
        student: Float[Tensor, "n c *r"],
        teacher: Float[Tensor, "n c *t"] | SparseTeacher,
        target: Labels | None = None,
        ramp: Real = 1.0,
    ) -> dict[str, Float[Tensor, " n"]]:
        """Return the value of every term for every sample, in nats.

        Args:
            student: the student's logits.
            teacher: the teacher's logits, or what is known of them.
            target: class indices, or a distribution over the classes for every sample, (n, c);
                None will do where the loss needs no labels.
            ramp: factor on the distillation terms (cross-entropy keeps its weight 1), for the
                linear warm-up of DKD and GDKD; see ``linear_ramp``.

        Raises:
            ValueError: shapes differ, a logit is NaN or infinite, a target that the loss uses is
                missing, no class index, or a distribution where it needs one, or the loss needs
                what a SparseTeacher does not know.
        """
        target = self._given(student, target)
        student, teacher = self._checked(student, teacher, target)
        found = values_of(self, student, teacher, self.used_of(target), check_ramp(ramp))
        return self._as_declared("values", found, student.shape[:1])

    if TYPE_CHECKING:  # torch says of a call that it takes and gives anything
        __call__ = forward

    @torch.no_grad()
    def gradients(
        self,
        student: Float[Tensor, "n c *r"],
        teacher: Float[Tensor, "n c *t"] | SparseTeacher,
        target: Labels | None = None,
        ramp: Real = 1.0,
    ) -> dict[str, Float[Tensor, "n c *r"]]:
        """Return the gradient of every term in the student's logits, one row a sample.

        Closed form, no backward pass; the keys are those of calling the loss. A batch mean's
        gradient is these rows divided by n. Arguments and errors as for calling the loss.
        Absolute errors are of the order of T times the rounding of the logits' dtype: where both
        sides are confident of the same class the gradient is small, and float64 logits keep more
        of its digits.
        """
        target = self._given(student, target)
        seen, teacher = self._checked(student, teacher, target)
        slopes = slopes_of(self, seen, teacher, self.used_of(target), check_ramp(ramp))
        slopes = self._as_declared("slopes", slopes, seen.shape)
        left = student.shape[1] - seen.shape[1]
        return {k: pad(slope, (0, left)) for k, slope in slopes.items()} if left else slopes

    @property
    def needs_index(self) -> str:
        """Name of what needs a class index where targets may be distributions; "" if nothing."""
        return type(self).__name__ if self.needs_target else ""

    def used_of(self, target: Tensor) -> Tensor:
        """Return the targets, any class indices in place of distributions where none is used."""
        unused = is_soft(target) and not self.needs_target
        return target.new_zeros(len(target), dtype=torch.long) if unused else target

    def check_targets(self, target: Any) -> None:
        """Raise a ValueError that names what needs class indices, where they are distributions."""
        if isinstance(target, Tensor) and is_soft(target) and self.needs_index:
            raise ValueError(
                f"{self.needs_index} needs the label of every sample as a class index (n,), got "
                f"distributions of shape {tuple(target.shape)}; CrossEntropy takes them, KD and "
                f"GDKD need no label"
            )

    def _as_declared(self, of: str, found: Any, shape: torch.Size) -> dict[str, Tensor]:
        """Return the terms; a ValueError where they are not those declared, a number a sample."""
        name = f"{of} of {type(self).__name__}"
        if not isinstance(found, dict) or {*found} != {*self.terms}:
            got = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
            raise ValueError(
                f"{name} gives {got}, need a dict of the terms of its term_weights: "
                f"{', '.join(self.terms)}"
            )
        for term, part in found.items():
            if not isinstance(part, Tensor) or part.shape != shape:
                got = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
                raise ValueError(
                    f"{name} gives {term!r} as {got}, need {tuple(shape)}: of every sample its own"
                )
        return found

    def _given(self, student: Any, target: Any) -> Any:
        if target is not None or not isinstance(student, Tensor):
            return target
        if self.needs_target:
            raise ValueError(
                f"{self.needs_index or type(self).__name__} needs the label of every sample, got "
                f"None: give class indices (n,) as target"
            )
        rows = 1 if student.is_nested or not student.dim() else len(student)  # those are refused
        return torch.zeros(rows, dtype=torch.long, device=student.device)

    def _checked(self, student: Any, teacher: Any, target: Any) -> tuple[Tensor, Side]:
        self.check_targets(target)
        if isinstance(teacher, SparseTeacher):
            self.check_known(teacher)
            return checked_sparse(student, teacher, target)
        student, teacher = checked(student, teacher, target, self.scales, self.stacked)
        return student, teacher.detach()

    def check_known(self, teacher: SparseTeacher) -> None:
        """Raise a ValueError that names what the loss needs and a SparseTeacher does not know."""
        raise ValueError(
            f"{type(self).__name__} needs the teacher's log-probability of every class, and "
            f"{teacher} has no low_other: it leaves out how the others share their mass; a loss of "
            f"the k largest tokens, such as Truncated(k={teacher.ids.shape[-1]}), does without"
        )

    @abstractmethod
    def values(
        self, student: Tensor, teacher: Any, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Compute the terms from checked logits; of a SparseTeacher that ``check_known`` let by."""

    @abstractmethod
    def slopes(
        self, student: Tensor, teacher: Any, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Compute the terms' gradients from the same."""

    def __repr__(self) -> str:
        given = signature(type(self)).parameters.values()
        names = [one.name for one in given if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"


@typed
def linear_ramp(epoch: Real, length: Real) -> float:
    """Warm-up factor min(epoch / length, 1); DKD and GDKD use length 20 on CIFAR-100."""
    if not (epoch >= 0 and length > 0):
        raise ValueError(f"need epoch >= 0 and length > 0, got epoch {epoch} and length {length}")
    return min(epoch / length, 1.0)


def check_loss(loss: Loss) -> Loss:
    """Return it, to be part of another; a ValueError where it cannot be."""
    if loss.stacked is not None:
        raise ValueError(
            f"{type(loss).__name__} takes the logits of a student and its stones, and is no part "
            f"of another loss: give it the other loss as its base"
        )
    return loss


def check_ramp(ramp: Real) -> Real:
    """Return it; a ValueError where it is no finite number from 0."""
    number = ramp if isinstance(ramp, float) else fitted("ramp", ramp, float)
    if not 0 <= number < float("inf"):
        raise ValueError(f"ramp must be a finite number from 0, got {ramp!r}")
    return number
