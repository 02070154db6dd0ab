"""Block-wise logit distillation: the student and its stepping stones learn from one teacher."""

from collections.abc import Iterable
from typing import SupportsIndex

import torch
from torch import Tensor

from kdanalysis.core.streams import check_temperature
from kdanalysis.losses.base import Loss, Real, check_loss
from kdanalysis.losses.plain import KD, CrossEntropy

STUDENT, PARTS = "student", ("task", "distill", "cross")


class Blockwise(Loss):
    r"""Block-wise logit distillation (Yu et al., IEEE TAI 2024, arXiv 2411.01547).

    .. math:: L = \sum_j w_j (a\ CE(z_j) + b\ D(z_j, t) + g\ T^2 KL(\bar z \| z_j))

    j runs over the student, w = 1, and its stepping stones i, w = decay^(m - i): the student's
    first i of m blocks followed by the rest of the teacher, as ``Ladder`` makes them. z bar is the
    mean of the stones' logits, a constant for the gradient, and the student's are not in it.

    Called with the stacked logits (n, c, 1 + stones) of the student and its stones, in this order,
    and the teacher's (n, c). The terms are ``student/task``, ``student/distill``,
    ``student/cross``, ``stone_1/task`` and so on, every one zero in the gradient of all columns
    but its own. The ramp scales distill and cross.

    Args:
        base: D, the loss against the teacher, such as KD, DKD or GDKD; all of its terms are added
            up in ``distill``. KD at temperature 4 if None, which is not from the paper.
        blocks: m, the number of blocks of student and teacher.
        stones: numbers of the stones to use, rising from 1 to m at most; all if None.
        light: use the deeper half of the stones, those with i > m / 2, which run few of the
            teacher's blocks. Which stones to leave out is not from the paper.
        task: a; the default is not from the paper.
        distill: b; the default is not from the paper.
        cross: g; the default is not from the paper.
        cross_temperature: T of the cross term; the default is not from the paper.
        decay: of a stone's weight from one block to the one before, 1/2 in the paper.

    Raises:
        ValueError: a base that takes more than one set of logits, stones that do not exist, or a
            number that cannot be used.
    """

    def __init__(
        self,
        base: Loss | None = None,
        blocks: int = 3,
        stones: Iterable[SupportsIndex] | None = None,
        light: bool = False,
        task: Real = 1.0,
        distill: Real = 1.0,
        cross: Real = 1.0,
        cross_temperature: Real = 4.0,
        decay: Real = 0.5,
    ) -> None:
        super().__init__()
        self.base = KD() if base is None else check_loss(base)
        if self.base.scales is not None:
            raise ValueError(f"the base of Blockwise is a loss on whole images, got {base}")
        self.blocks, self.light = blocks, light
        self.numbers = choose_stones(blocks, stones, light)
        self.stones = None if stones is None else self.numbers
        self.stacked = 1 + len(self.numbers)
        self.task, self.distill = float(task), float(distill)
        self.cross = float(cross)
        self.cross_temperature = check_temperature(cross_temperature)
        self.decay = float(decay)

    @property
    def sides(self) -> dict[str, float]:
        """The student and its stones by name, with their weights."""
        stones = {f"stone_{i}": self.decay ** (self.blocks - i) for i in self.numbers}
        return {STUDENT: 1.0} | stones

    @property
    def term_weights(self) -> dict[str, float]:
        """Weights of the terms, those of the sides and of their parts multiplied."""
        parts = dict(zip(PARTS, (self.task, self.distill, self.cross), strict=True))
        return {
            f"{side}/{part}": weight * factor
            for side, weight in self.sides.items()
            for part, factor in parts.items()
        }

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Weigh the parts of every side."""
        return self._weigh(self._each("values", student, teacher, target, ramp))

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Weigh the parts' gradients, a side's standing in its own column."""
        found = self._weigh(self._each("slopes", student, teacher, target, ramp))
        column = {side: place for place, side in enumerate(self.sides)}
        slopes = {term: torch.zeros_like(student) for term in found}
        for term, slope in found.items():
            slopes[term][..., column[term.split("/")[0]]] = slope
        return slopes

    def _each(
        self, what: str, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Compute values or slopes of the parts, unweighted, the sides along the first axis."""
        count, middle = student.shape[-1], student[..., 1:].mean(-1).detach()
        rows = student.permute(2, 0, 1).flatten(0, 1)  # all samples of the student come first
        labels = target.repeat(count)

        def part(loss: Loss, other: Tensor) -> Tensor:
            terms = getattr(loss, what)(rows, other.repeat(count, 1), labels, ramp)
            return sum(terms.values()).unflatten(0, (count, len(target)))

        crossing = KD(self.cross_temperature)
        pairs = (CrossEntropy(), teacher), (self.base, teacher), (crossing, middle)
        return {name: part(*pair) for name, pair in zip(PARTS, pairs, strict=True)}

    def _weigh(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = self.term_weights
        return {
            f"{side}/{name}": weights[f"{side}/{name}"] * part[place]
            for place, side in enumerate(self.sides)
            for name, part in parts.items()
        }


def choose_stones(
    blocks: int, stones: Iterable[int] | None = None, light: bool = False
) -> tuple[int, ...]:
    """Return the numbers of the stones to use.

    Args:
        blocks: m; there is a stone after every block.
        stones: the numbers themselves; all if None.
        light: those above m / 2.

    Raises:
        ValueError: they do not rise within 1 to m, or are chosen in both ways.
    """
    if blocks < 1:
        raise ValueError(f"blocks must be a whole number from 1, got {blocks!r}")
    if light and stones is not None:
        raise ValueError(f"light=True chooses the stones itself: leave out stones={stones!r}")
    if stones is None:
        return tuple(range(blocks // 2 + 1 if light else 1, blocks + 1))
    numbers = tuple(stones)
    if not numbers or list(numbers) != sorted(set(numbers) & set(range(1, blocks + 1))):
        raise ValueError(
            f"stones must rise within 1 to {blocks}, the number of blocks, got {numbers}"
        )
    return numbers
