"""Losses over all classes at once: cross-entropy, plain distillation, and that in its parts."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import one_hot

from kdanalysis.core.divergence import decompose, divergence_terms, slopes
from kdanalysis.core.partition import Partition, check_target
from kdanalysis.losses.base import Loss, Real, check_number, check_temperature


class CrossEntropy(Loss, name="ce"):
    """Cross-entropy with the label at T = 1: L = -log q_target. No ramp applies to it.

    Args:
        weight: factor on the term.
    """

    colours: ClassVar = {"ce": "grey"}

    def __init__(self, weight: Real = 1.0) -> None:
        super().__init__()
        self.weight = check_number("weight", weight)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of the term."""
        return {"ce": self.weight}

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Value -log q_target."""
        check_target(target, student.shape[-1])
        picked = student.log_softmax(-1).gather(-1, target.long().unsqueeze(-1))
        return {"ce": -self.weight * picked.squeeze(-1)}

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Gradient q - onehot(target)."""
        check_target(target, student.shape[-1])
        return {
            "ce": self.weight * (student.softmax(-1) - one_hot(target.long(), student.shape[-1]))
        }


class KD(Loss, name="kd"):
    """Knowledge distillation (Hinton et al., 2015): L = T^2 KL(p || q) at temperature T.

    Args:
        temperature: T > 0; the factor T^2 keeps the gradient scale when T changes.
        weight: factor on the term.
    """

    needs_target = False
    colours: ClassVar = {"kd": "orange"}

    def __init__(self, temperature: Real = 4.0, weight: Real = 1.0) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature)
        self.weight = check_number("weight", weight)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of the term."""
        return {"kd": self.weight}

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Value T^2 KL(p || q)."""
        log_p, log_q = ((x / self.temperature).log_softmax(-1) for x in (teacher, student))
        scale = ramp * self.weight * self.temperature**2
        return {"kd": scale * divergence_terms(log_p, log_q).sum(-1)}

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Gradient T (q - p)."""
        p, q = ((x / self.temperature).softmax(-1) for x in (teacher, student))
        return {"kd": ramp * self.weight * self.temperature * (q - p)}


class KDParts(Loss):
    """Plain KD in the terms of its exact split over a partition, each with KD's own weight.

        T^2 KL(p || q) = T^2 KL(P || Q) + sum_g P_g T^2 KL(p|g || q|g)

    The weight of a low term is the teacher's mass P_g of its group, a constant of the sample; the
    values of all parts add up to KD's, and so do the gradients. ``term_weights`` are the factors
    beside the masses.

    Args:
        partition: rule that groups the classes.
        temperature: T > 0; the factor T^2 keeps the gradient scale when T changes.
        names: names of the high term and of every group's low term; None leaves a term out, for
            groups of one class, whose term is identically 0.
        weight: factor on all terms, as KD has one.

    Raises:
        ValueError: a name too many or too few, or a number that cannot be used.
    """

    colours: ClassVar = {
        **{"high": "blue", "low_top": "green", "low_other": "vermilion"},
        **{"tckd": "sky", "nckd": "purple"},
    }
    non_top = ("low_other", "nckd")

    def __init__(
        self,
        partition: Partition,
        temperature: Real = 4.0,
        names: Sequence[str | None] = ("high", "low_top", "low_other"),
        weight: Real = 1.0,
    ) -> None:
        super().__init__()
        if len(names) != 1 + partition.num_groups:
            raise ValueError(f"{partition} needs {1 + partition.num_groups} names, got {names}")
        self.partition, self.names = partition, tuple(names)
        self.temperature = check_temperature(temperature)
        self.weight = check_number("weight", weight)

    @property
    def term_weights(self) -> dict[str, float]:
        """The factor of every named term."""
        return {name: self.weight for name in self.names if name is not None}

    @property
    def needs_target(self) -> bool:
        """Whether the partition looks at the labels."""
        return self.partition.needs_target

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Weigh the low parts of the decomposition by the teacher's masses."""
        groups, count = self.partition(teacher, target), self.partition.num_groups
        high, low, mass = decompose(student, teacher, groups, count, self.temperature)
        scale = ramp * self.weight * self.temperature**2
        parts = zip(self.names, (high, *(mass * low).unbind(1)), strict=True)
        return {name: scale * part for name, part in parts if name is not None}

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Weigh the closed-form gradients of the low parts by the teacher's masses."""
        groups, count = self.partition(teacher, target), self.partition.num_groups
        high, low = slopes(student, teacher, groups, (1.0,) * (1 + count), self.temperature)
        mass = decompose(teacher, teacher, groups, count, self.temperature).mass.unbind(-1)
        weighed = [p.unsqueeze(-1) * part for p, part in zip(mass, low, strict=True)]
        parts = zip(self.names, (high, *weighed), strict=True)
        return {name: ramp * self.weight * part for name, part in parts if name is not None}
