"""Losses made of losses: a sum, and standardised logits around any loss."""

from collections.abc import Iterable
from typing import Any, TypeVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.losses.base import Loss, Real, check_loss
from kdanalysis.losses.sides import Side

Value = TypeVar("Value", Tensor, Real)


class Sum(Loss):
    """Sum of losses with all their terms by name, such as ``Sum(CrossEntropy(), DKD())``.

    Terms of equal name are added up, so that the total stays the sum of the losses. Beside a loss
    on regions the others see the global region alone.

    Args:
        losses: at least one; those on regions with the same scales.
    """

    def __init__(self, *losses: Loss) -> None:
        super().__init__()
        if not losses:
            raise ValueError("Sum needs at least one loss, got none")
        self.losses = nn.ModuleList(map(check_loss, losses))
        found = {loss.scales for loss in losses} - {None}
        if len(found) > 1:
            raise ValueError(f"losses on regions need the same scales, got {sorted(found)}")
        self.scales = found.pop() if found else None

    @property
    def term_weights(self) -> dict[str, float]:
        """Weights of all terms; those of equal name added up."""
        return merged(loss.term_weights for loss in self.losses)

    @property
    def temperature(self) -> float | None:
        """The temperature of all losses that have one, None where they differ."""
        found = {loss.temperature for loss in self.losses} - {None}
        return found.pop() if len(found) == 1 else None

    @property
    def needs_target(self) -> bool:
        """Whether one of the losses uses the labels."""
        return any(loss.needs_target for loss in self.losses)

    @property
    def needs_index(self) -> str:
        """Name of the first of the losses that needs a class index; "" if none."""
        return next(filter(None, (loss.needs_index for loss in self.losses)), "")

    @property
    def ignore_index(self) -> int | None:
        """The label that all losses which use labels take for none; None where one needs it."""
        found = {loss.ignore_index for loss in self.losses if loss.needs_target}
        return found.pop() if len(found) == 1 else None

    @property
    def distributions(self) -> bool:
        """Whether one of the losses needs targets that add up to 1."""
        return any(loss.distributions for loss in self.losses if loss.needs_target)

    def check_known(self, teacher: SparseTeacher) -> None:
        """Refuse what one of the losses does."""
        for loss in self.losses:
            loss.check_known(teacher)

    def values(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Merge the losses' terms."""
        sides = [self._seen_by(loss, student, teacher) for loss in self.losses]
        parts = zip(self.losses, sides, strict=True)
        return merged(loss.values(*seen, loss.used_of(target), ramp) for loss, seen in parts)

    def slopes(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Merge the gradients of the losses' terms."""
        found = []
        for loss in self.losses:
            seen = self._seen_by(loss, student, teacher)
            part = loss.slopes(*seen, loss.used_of(target), ramp)
            if self._is_global(loss):
                others = (0, student.shape[-1] - 1)  # regions whose gradient is 0
                part = {k: F.pad(slope.unsqueeze(-1), others) for k, slope in part.items()}
            found.append(part)
        return merged(found)

    def _is_global(self, loss: Loss) -> bool:
        return self.scales is not None and loss.scales is None

    def _seen_by(self, loss: Loss, student: Tensor, teacher: Side) -> tuple[Tensor, Side]:
        return (student[..., 0], teacher[..., 0]) if self._is_global(loss) else (student, teacher)

    def __repr__(self) -> str:
        return f"Sum({', '.join(map(repr, self.losses))})"


def merged(parts: Iterable[dict[str, Value]]) -> dict[str, Value]:
    """Return the terms of several losses, those of equal name added up."""
    found: dict[str, Value] = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found[name] + value if name in found else value
    return found


def of_inner(name: str) -> Any:
    """Return a property that is the inner loss's own."""
    return property(lambda around: getattr(around.loss, name))


class Around(Loss):
    """A loss around another: what is not computed, weights above all, is the inner loss's."""

    loss: Loss
    term_weights = of_inner("term_weights")
    temperature = of_inner("temperature")
    needs_target = of_inner("needs_target")
    needs_index = of_inner("needs_index")
    ignore_index = of_inner("ignore_index")
    distributions = of_inner("distributions")


class LogitStandardized(Around, prefixes={"ls-": {}}):
    """Any loss on z-scored logits (Sun et al., CVPR 2024, arXiv 2403.01427).

    Both sides become (z - mean) / (std + 1e-7) per sample, with the unbiased std over classes.
    The gradient is in the student's own logits, through the standardisation.

    Args:
        loss: the loss that sees the standardised logits; its temperature applies to them.

    Raises:
        ValueError: when called with a sample whose logits are all equal: it has no direction.
    """

    epsilon = 1e-7

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = check_loss(loss)
        if loss.scales is not None:
            raise ValueError(
                f"standardise inside SDD instead: SDD(LogitStandardized(...)), not {loss}"
            )

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """The inner loss's terms on standardised logits."""
        student, teacher = (self._standardize(x, side)[0] for x, side in _sides(student, teacher))
        return self.loss.values(student, teacher, target, ramp)

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Pull the inner gradients back: (g - mean(g) - y <g, y> (s + e) / (s (c - 1))) / (s + e).

        y are the standardised logits, s their std before, e the epsilon.
        """
        (y, spread), (t, _) = (self._standardize(x, side) for x, side in _sides(student, teacher))
        scale = spread + self.epsilon
        shrink = scale / (spread * (student.shape[-1] - 1))
        inner = self.loss.slopes(y, t, target, ramp)
        return {
            name: (g - g.mean(-1, keepdim=True) - shrink * y * (g * y).sum(-1, keepdim=True))
            / scale
            for name, g in inner.items()
        }

    def _standardize(
        self, logits: Float[Tensor, "n c"], side: str
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n 1"]]:
        spread = logits.std(-1, keepdim=True)
        if not (spread > 0).all():
            sample = int((~(spread > 0)).nonzero()[0, 0])
            raise ValueError(
                f"{side} logits of sample {sample} have no spread over the classes; "
                f"standardisation divides by it"
            )
        return (logits - logits.mean(-1, keepdim=True)) / (spread + self.epsilon), spread


def _sides(student: Tensor, teacher: Tensor) -> tuple[tuple[Tensor, str], tuple[Tensor, str]]:
    return (student, "student"), (teacher, "teacher")
