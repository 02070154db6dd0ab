"""Losses over all classes at once: cross-entropy and plain distillation."""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import one_hot

from kdanalysis.core.divergence import divergence_terms
from kdanalysis.core.partition import check_target
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.losses.base import Loss, Real, check_number, check_temperature
from kdanalysis.losses.sides import Side


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

    def check_known(self, teacher: SparseTeacher) -> None:
        """Any teacher will do: none of its values are used."""

    def values(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Value -log q_target."""
        check_target(target, student.shape[-1])
        picked = student.log_softmax(-1).gather(-1, target.long().unsqueeze(-1))
        return {"ce": -self.weight * picked.squeeze(-1)}

    def slopes(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
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
