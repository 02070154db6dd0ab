"""Losses of language models: one divergence over a vocabulary, or over the K tokens known of it."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from kdanalysis.core.measures import Measure, Reverse
from kdanalysis.core.partition import TopK
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.sparse_checks import number
from kdanalysis.core.streams import check_temperature
from kdanalysis.core.truncated import Known, dense_known, slope, sparse_known, value
from kdanalysis.losses.base import Loss, Real
from kdanalysis.losses.sides import Side

WHOLE = ("bucket", "renormalise")  # what makes two distributions of the K tokens


class OverTokens(Loss):
    """T^2 times a divergence in nats; over all tokens, or over the teacher's k largest.

    A subclass names its ``measure``. With k the others become one more class (tail
    "bucket") or are left out of both sides (tail "renormalise"), and a SparseTeacher of k tokens
    will do.

    Args:
        k: number of the teacher's largest tokens to compare on; all if None.
        tail: of the others where k is given, "bucket" or "renormalise".
        temperature: T > 0.
        weight: factor on the term.
    """

    needs_target = False
    tails: ClassVar[tuple[str, ...]] = WHOLE
    outside: float = -100.0

    def __init__(
        self,
        k: int | None = None,
        tail: str = "bucket",
        temperature: Real = 1.0,
        weight: Real = 1.0,
    ) -> None:
        super().__init__()
        if tail not in self.tails:
            raise ValueError(f"tail of {type(self).__name__} is one of {self.tails}, got {tail!r}")
        self.k, self.tail = None if k is None else number("k", k), tail
        self.temperature = check_temperature(temperature)
        self.weight = float(weight)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of the term."""
        return {self.name: self.weight}

    @property
    @abstractmethod
    def measure(self) -> Measure:
        """The divergence."""

    def check_known(self, teacher: SparseTeacher) -> None:
        """Refuse a sparse teacher where the divergence runs over all tokens."""
        if self.k is None:
            raise ValueError(
                f"{type(self).__name__} without k runs over all tokens, and {teacher} leaves out "
                f"what the others have each: give it k={teacher.ids.shape[-1]} or less"
            )

    def values(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Value of the divergence, T^2 included."""
        return {self.name: ramp * self.weight * self.temperature**2 * self._value(student, teacher)}

    def slopes(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Its gradient, that of the divergence at T times T."""
        return {self.name: ramp * self.weight * self.temperature * self._slope(student, teacher)}

    def _value(self, student: Tensor, teacher: Side) -> Tensor:
        if self.k is None:
            return self.measure.value(*_softened(teacher, student, self.temperature))
        known = self._known(student, teacher)
        return value(self.measure, student, known, self.temperature, self.tail, self.outside)

    def _slope(self, student: Tensor, teacher: Side) -> Tensor:
        if self.k is None:
            return self.measure.slope(*_softened(teacher, student, self.temperature))
        known = self._known(student, teacher)
        return slope(self.measure, student, known, self.temperature, self.tail, self.outside)

    def _known(self, student: Tensor, teacher: Side) -> Known:
        """The tokens that the loss is over, with the teacher's side of them."""
        if isinstance(teacher, Tensor):
            ids = top_ids(self._chooser(student, teacher), self.k)
            return dense_known(teacher, ids, self.temperature)
        top_ids(student[:0], self.k)  # refuses a k that leaves no others
        known = self._kept(student, teacher.at(self.temperature))
        if self.tail in ("bucket", "none"):
            self._check_tail(known.tail())  # or the sentence that says why there is none
        return sparse_known(known, student)

    def _check_tail(self, tail: Tensor) -> None:
        empty = tail == -torch.inf
        if self.tail == "bucket" and isinstance(self.measure, Reverse) and empty.any():
            raise ValueError(
                f"the known tokens of row {int(empty.nonzero()[0])} have all of the teacher's "
                f"mass: the reverse KL is infinite, for the student gives the others some"
            )

    def _chooser(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The logits whose largest are taken."""
        return teacher

    def _kept(self, student: Tensor, teacher: SparseTeacher) -> SparseTeacher:
        """The same of a sparse teacher."""
        if teacher.kind == "sampled":
            raise ValueError(f"{teacher} holds draws, not the largest tokens: they are for 'rs'")
        held = teacher.ids.shape[-1]
        if self.k > held:
            raise ValueError(f"k={self.k} needs as many tokens a row, and {teacher} holds {held}")
        return teacher.top(self.k)


def top_ids(logits: Tensor, k: int) -> Tensor:
    """Return the k largest classes; a ValueError where none is left over."""
    return TopK(k).members(logits, torch.zeros(len(logits), dtype=torch.long))[0]


def _softened(teacher: Tensor, student: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of both sides, as a measure takes them."""
    return (teacher / temperature).log_softmax(-1), (student / temperature).log_softmax(-1)
