"""KL over the tokens that are known of a teacher, by the conventions of those who train with it."""

import torch
from torch import Tensor

from kdanalysis.core.measures import Forward, Measure, Reverse
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.sparse_rows import only
from kdanalysis.core.truncated import TAILS
from kdanalysis.losses.base import Real
from kdanalysis.losses.sides import Side
from kdanalysis.losses.tokens import OverTokens, top_ids

DIRECTIONS: dict[str, Measure] = {"forward": Forward(), "reverse": Reverse()}


class Truncated(
    OverTokens,
    name="topk",
    presets={
        "verl": {"tail": "none", "clamp": 0.0},
        "distillkit": {"tail": "teacher"},
        "axolotl": {"tail": "teacher"},
        "nemo": {"tail": "renormalise"},
        "megatron": {"tail": "bucket"},
        "maxtext": {"tail": "renormalise"},
        "swift": {"tail": "renormalise"},
    },
):
    """KL of a teacher of whom the k largest tokens are known, as trainers of language models do.

        bucket       high + P low_top: full KD but for P_O low_other
        renormalise  low_top
        none         sum over S of p log(p / q); its gradient pushes the student's tail to 0
        teacher      KL(p|S || q), the teacher renormalised and the student not

    ``TopK`` is the partition; this is the loss of what it cuts off. The presets are the
    conventions of projects at their usual settings: ``trl-server`` (see ``JSD``) and
    ``megatron`` with its ghost token take the bucket; ``nemo``, ``maxtext`` and ``swift``
    renormalise; ``verl`` sums what it has and clamps at 0; ``axolotl`` and ``distillkit``
    renormalise the teacher. Those codes differ in the factor T^2, which is always in ours.

    Args:
        k: number of tokens; the teacher's largest.
        tail: the convention.
        divergence: "forward", KL(p || q), or "reverse", KL(q || p).
        clamp: least value of a sample, in nats before T^2; below it the gradient is 0.
        outside: the teacher's log-probability of all other tokens, where ``tail`` is "teacher"
            and the divergence reverse (NeMo-RL's ``zero_outside_topk``).
        support: whose largest tokens they are, "teacher" or "student".
        temperature: T > 0.
        weight: factor on the term.

    Raises:
        ValueError: an unknown option, or, when called, a k that is not below the number of
            classes or above that of a sparse teacher's tokens.
    """

    tails = TAILS

    def __init__(
        self,
        k: int = 64,
        tail: str = "bucket",
        divergence: str = "forward",
        clamp: Real | None = None,
        outside: Real = -100.0,
        support: str = "teacher",
        temperature: Real = 1.0,
        weight: Real = 1.0,
    ) -> None:
        super().__init__(k, tail, temperature, weight)
        if k is None:
            raise ValueError("Truncated needs k, the number of tokens; over all of them it is KD")
        self.divergence = check_direction(divergence)
        self.clamp = None if clamp is None else float(clamp)
        self.outside = float(outside)
        if support not in ("teacher", "student"):
            raise ValueError(f"support is 'teacher' or 'student', got {support!r}")
        self.support = support

    @property
    def measure(self) -> Measure:
        """Forward or reverse KL."""
        return DIRECTIONS[self.divergence]

    def _value(self, student: Tensor, teacher: Side) -> Tensor:
        found = super()._value(student, teacher)
        return found if self.clamp is None else torch.where(found < self.clamp, self.clamp, found)

    def _slope(self, student: Tensor, teacher: Side) -> Tensor:
        found = super()._slope(student, teacher)
        if self.clamp is None:
            return found
        return found * (super()._value(student, teacher) >= self.clamp).unsqueeze(-1)

    def _chooser(self, student: Tensor, teacher: Tensor) -> Tensor:
        return teacher if self.support == "teacher" else student.detach()

    def _kept(self, student: Tensor, teacher: SparseTeacher) -> SparseTeacher:
        if self.support == "teacher":
            return super()._kept(student, teacher)
        return only(teacher, top_ids(student.detach(), self.k))


def check_direction(divergence: str) -> str:
    """Return it; a ValueError where it is neither."""
    if divergence not in DIRECTIONS:
        raise ValueError(f"divergence is one of {tuple(DIRECTIONS)}, got {divergence!r}")
    return divergence
