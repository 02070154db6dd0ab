"""Losses over all classes at once: cross-entropy and plain distillation."""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import one_hot

from kdanalysis.core.divergence import decompose, whole_slopes
from kdanalysis.core.partition import check_target
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.streams import check_temperature
from kdanalysis.losses.base import Loss, Real
from kdanalysis.losses.sides import Side, distributions, is_soft

NO_LABEL = -1  # what a run keeps for a sample without a label


class CrossEntropy(Loss, name="ce"):
    """Cross-entropy with the label at T = 1: L = -sum_i y_i log q_i. No ramp applies to it.

    y is the label as one-hot, or the target itself where it is a distribution over the classes,
    as mixup, CutMix and label smoothing make it.

    Args:
        weight: factor on the term.
        ignore_index: a label that stands for none, as -1 always does beside it: the term of such a
            sample is 0. The mean stays one over all samples, where torch's own counts those with
            a label. None: every sample needs a label.

    Raises:
        ValueError: when called with a label that is no class, or with rows (n, c) that are no
            distributions.
    """

    colours: ClassVar = {"ce": "grey"}

    def __init__(self, weight: Real = 1.0, ignore_index: int | None = None) -> None:
        super().__init__()
        self.weight = float(weight)
        self.ignore_index = ignore_index

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of the term."""
        return {"ce": self.weight}

    @property
    def needs_index(self) -> str:
        """Nothing does: distributions are taken as they are."""
        return ""

    def check_known(self, teacher: SparseTeacher) -> None:
        """Any teacher will do: none of its values are used."""

    def values(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Value -sum_i y_i log q_i."""
        log_q = student.log_softmax(-1)
        if is_soft(target):
            return {"ce": -self.weight * (distributions(target, student) * log_q).sum(-1)}
        label, counted = self._labels(target, student)
        picked = log_q.gather(-1, label.unsqueeze(-1)).squeeze(-1)
        return {"ce": -self.weight * (picked if counted is None else picked * counted)}

    def slopes(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Gradient q - y; of a y that adds up to s, q s - y."""
        q = student.softmax(-1)
        if is_soft(target):
            y = distributions(target, student)
            return {"ce": self.weight * (q * y.sum(-1, keepdim=True) - y)}
        label, counted = self._labels(target, student)
        slope = q - one_hot(label, student.shape[-1])
        return {"ce": self.weight * (slope if counted is None else slope * counted.unsqueeze(-1))}

    def _labels(self, target: Tensor, student: Tensor) -> tuple[Tensor, Tensor | None]:
        """The labels, and which samples count, where some may have none."""
        counted = None
        if self.ignore_index is not None:
            counted = (target != self.ignore_index) & (target != NO_LABEL)
            target = target.where(counted, 0)
        check_target(target, student.shape[-1])
        return target.long(), counted


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
        self.weight = float(weight)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of the term."""
        return {"kd": self.weight}

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Value T^2 KL(p || q)."""
        scale = ramp * self.weight * self.temperature**2
        return {"kd": scale * decompose(student, teacher, (None,), self.temperature).low[:, 0]}

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Gradient T (q - p)."""
        return {"kd": whole_slopes(student, teacher, ramp * self.weight, self.temperature)}
