"""KD in parts: the terms into which a partition splits plain distillation, with KD's weights."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.divergence import decompose, slopes
from kdanalysis.core.partition import Partition


class KDParts:
    """What a loss offers to analyzers (``terms``, ``gradients``), for the split of plain KD.

        T^2 KL(p || q) = T^2 KL(P || Q) + sum_g P_g T^2 KL(p|g || q|g)

    The weight of a low term is the teacher's mass P_g of its group, a constant of the sample; the
    gradients of all parts add up to KD's.

    Args:
        partition: rule that groups the classes.
        temperature: T > 0.
        names: names of the high term and of every group's low term; None leaves a term out, for
            groups of one class, whose term is identically 0.
        weight: factor on all terms, as KD has one.

    Raises:
        ValueError: a name too many or too few.
    """

    def __init__(
        self,
        partition: Partition,
        temperature: float | int = 4.0,
        names: Sequence[str | None] = ("high", "low_top", "low_other"),
        weight: float | int = 1.0,
    ) -> None:
        if len(names) != 1 + partition.num_groups:
            raise ValueError(f"{partition} needs {1 + partition.num_groups} names, got {names}")
        self.partition, self.temperature, self.names = partition, temperature, tuple(names)
        self.weight = weight
        self.terms = tuple(name for name in names if name is not None)
        self.needs_target = partition.needs_target

    def gradients(
        self,
        student: Float[Tensor, "n c"],
        teacher: Float[Tensor, "n c"],
        target: Int[Tensor, " n"],
        ramp: float | int = 1.0,
    ) -> dict[str, Float[Tensor, "n c"]]:
        """Closed-form gradient of every part in the student logits, T^2 included."""
        groups, count = self.partition(teacher, target), self.partition.num_groups
        high, low = slopes(student, teacher, groups, (1.0,) * (1 + count), self.temperature)
        mass = decompose(teacher, teacher, groups, count, self.temperature).mass.unbind(-1)
        weighed = [p.unsqueeze(-1) * part for p, part in zip(mass, low, strict=True)]
        named = zip(self.names, (high, *weighed), strict=True)
        return {name: ramp * self.weight * part for name, part in named if name is not None}

    def __repr__(self) -> str:
        weight = "" if self.weight == 1 else f", weight={self.weight!r}"
        settings = f"temperature={self.temperature!r}, names={self.names!r}{weight}"
        return f"KDParts({self.partition}, {settings})"
