"""Losses over any partition: the parts of the split with constant weights, or with plain KD's."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, SupportsFloat

import torch
from torch import Tensor

from kdanalysis.core.divergence import DIVERGENCES, decompose, slopes
from kdanalysis.core.partition import Chosen, Members, Partition
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.sparse_rows import filled, refuse_unknown
from kdanalysis.core.streams import check_temperature
from kdanalysis.core.support import Support
from kdanalysis.losses.base import Loss, Real
from kdanalysis.losses.sides import Side

MASS = "mass"  # the weight of a low term in KD: the teacher's mass of its group


class Decoupled(Loss):
    r"""High and low terms of any partition, each with its own constant weight.

    .. math:: L = T^2 \left( w_0 KL(P \| Q) + \sum_g w_{g+1} KL(p_{|g} \| q_{|g}) \right)

    Plain KD weighs the low terms by the teacher mass :math:`P_g`, which all but vanishes for
    the non-top group of a confident teacher; constant weights keep that group audible. The weight
    "mass" is that P_g: with it KD and what trainers of language models do with a teacher's top k
    are weights of one split: ``"mass"`` is KD, ``(1, "mass", 0)`` one more class for the others,
    ``(0, 1, 0)`` both sides renormalised inside the top.

    Of a SparseTeacher every part is exact but the low one of the last group: without weight on it
    the loss takes one, where the other groups lie within the known tokens.

    Args:
        partition: rule that groups the classes.
        weights: ``w_0`` of the high term, then one weight per group, a number or "mass"; "mass"
            for all.
        temperature: T > 0; the factor T^2 keeps the gradient scale when T changes.
        names: names of the terms, ``high, low_0, low_1, ...`` unless given. A term named None is
            left out: for a group of one class, whose term is identically 0.
        divergence: direction of the low terms; the high term is always forward.

    Raises:
        ValueError: a weight or a name too many or too few, or an impossible temperature.
    """

    colours: ClassVar = {
        **{"high": "blue", "low_top": "green", "low_other": "vermilion"},
        **{"tckd": "sky", "nckd": "purple"},
    }
    non_top = ("low_other", "nckd")
    by_mass: ClassVar[bool] = False  # whether P_g is a factor of every low term as well

    def __init__(
        self,
        partition: Partition,
        weights: Iterable[SupportsFloat | str] | str,
        temperature: Real = 4.0,
        names: Sequence[str | None] | None = None,
        divergence: str = "forward",
    ) -> None:
        super().__init__()
        count = 1 + partition.num_groups
        if isinstance(weights, str):
            weights = (1.0, *[_check_weight(weights)] * (count - 1))
        weights = tuple(weights)
        names = names or ("high", *(f"low_{g}" for g in range(partition.num_groups)))
        if len(weights) != count or len(names) != count:
            raise ValueError(
                f"{partition} needs {count} weights and names, got {weights} and {names}"
            )
        if divergence not in DIVERGENCES:
            raise ValueError(f"divergence is one of {DIVERGENCES}, got {divergence!r}")
        self.partition, self.names = partition, tuple(names)
        self.weights = tuple(_check_weight(weight) for weight in weights)
        if MASS in self.weights[:1]:
            raise ValueError(f"the high term has no mass of a group, got the weights {weights}")
        self.temperature, self.divergence = check_temperature(temperature), divergence

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of every named term; 1 beside a mass."""
        return self._name(self._factors())

    def _factors(self) -> list[float]:
        return [1.0 if weight == MASS else weight for weight in self.weights]

    def _heavy(self) -> list[bool]:
        """Which groups' masses are factors of their low terms."""
        return [self.by_mass or weight == MASS for weight in self.weights[1:]]

    def check_known(self, teacher: SparseTeacher) -> None:
        """Refuse a sparse teacher where the inside of the last group counts, or all classes do."""
        if not isinstance(self.partition, Chosen | Support):
            raise ValueError(
                f"{self.partition} looks at every class to group them, and {teacher} leaves out "
                f"how the others share their mass"
            )
        if self.weights[-1] != 0 and self.names[-1] is not None:
            raise ValueError(
                f"{type(self).__name__} weighs {self.names[-1]} by {self.weights[-1]}, and "
                f"{teacher} leaves out how the others share their mass: it needs a weight of 0"
            )

    def _seen(self, teacher: Side, student: Tensor, target: Tensor) -> tuple[Tensor, Members]:
        """The teacher's logits, filled up where it is sparse, and what every group holds."""
        if isinstance(teacher, Tensor):
            return teacher, self.partition.members(teacher, target)
        known = teacher.at(self.temperature)
        logits = self.temperature * filled(known, student.detach())
        members = self.partition.members(logits, target)
        refuse_unknown(known, members[:-1], self.partition, logits.shape[-1])
        return logits, members

    @property
    def needs_target(self) -> bool:
        """Whether the partition looks at the labels."""
        return self.partition.needs_target

    def values(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Weigh the parts of the decomposition."""
        teacher, members = self._seen(teacher, student, target)
        high, low, mass = decompose(student, teacher, members, self.temperature, self.divergence)
        low = torch.where(torch.tensor(self._heavy(), device=low.device), mass * low, low)
        scale = ramp * self.temperature**2
        parts = zip(self._factors(), (high, *low.unbind(1)), strict=True)
        return self._name([scale * weight * part for weight, part in parts])

    def slopes(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Weigh the closed-form gradients of the parts."""
        teacher, members = self._seen(teacher, student, target)
        weights = [ramp * w for w in self._factors()]
        options = self.temperature, self.divergence, self._heavy()
        high, low = slopes(student, teacher, members, weights, *options)
        return self._name((high, *low))

    def _name(self, parts: Sequence) -> dict[str, Any]:
        return {k: part for k, part in zip(self.names, parts, strict=True) if k is not None}


def _check_weight(weight: SupportsFloat | str) -> float | str:
    """Return a number, or the word for a group's mass."""
    if isinstance(weight, str) and weight != MASS:
        raise ValueError(
            f"weights are numbers or {MASS!r}, the teacher's mass of a group; got {weight!r}"
        )
    return MASS if weight == MASS else float(weight)


class KDParts(Decoupled):
    """Plain KD in the terms of its exact split over a partition, each with KD's own weight.

        T^2 KL(p || q) = T^2 KL(P || Q) + sum_g P_g T^2 KL(p|g || q|g)

    The weight of a low term is the teacher's mass P_g of its group, a constant of the sample; the
    values of all parts add up to KD's, and so do the gradients. ``term_weights`` are the factors
    beside the masses.

    Args:
        partition: rule that groups the classes.
        temperature: T > 0.
        names: names of the high term and of every group's low term; None leaves a term out, for
            groups of one class, whose term is identically 0.
        weight: factor on all terms, as KD has one.

    Raises:
        ValueError: a name too many or too few, or a number that cannot be used.
    """

    by_mass = True

    def __init__(
        self,
        partition: Partition,
        temperature: Real = 4.0,
        names: Sequence[str | None] = ("high", "low_top", "low_other"),
        weight: Real = 1.0,
    ) -> None:
        if len(names) != 1 + partition.num_groups:
            raise ValueError(f"{partition} needs {1 + partition.num_groups} names, got {names}")
        super().__init__(partition, (weight,) * len(names), temperature, names)
        self.weight = self.weights[0]
