"""Losses of multi-label heads, whose classes are sigmoids: each class a split in two of its own."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from kdanalysis.core.divergence import divergence_terms
from kdanalysis.core.streams import check_temperature
from kdanalysis.losses.base import Loss, Real
from kdanalysis.losses.sides import memberships


class Sigmoid(Loss, name="sigmoid"):
    r"""Distillation of sigmoid heads, one against the rest (Yang et al., ICCV 2023, 2308.06453).

    .. math:: L = T^2 ( w_+ \sum_{i \in +} KL(b_i \| d_i) + w_- \sum_{i \in -} KL(b_i \| d_i) )

    b_i and d_i are the two masses sigmoid(z_i / T) and 1 - sigmoid(z_i / T) of class i by teacher
    and student: the high term of the split into class i and not. ``present`` (+) adds up over the
    classes that the teacher says are there, whose logit is above 0, ``absent`` (-) over the
    others, which are most. Sums over the classes, in nats, T^2 included; with both weights 1 they
    are the divergence of the teacher's independent labels from the student's.

    Unlike a softmax, sigmoids change where a constant is added to all logits.

    Args:
        temperature: T > 0; the factor T^2 keeps the gradient scale when T changes.
        present: weight of the classes that the teacher says are there.
        absent: weight of the others.
    """

    needs_target = False

    def __init__(self, temperature: Real = 4.0, present: Real = 1.0, absent: Real = 1.0) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature)
        self.present, self.absent = float(present), float(absent)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weights of the two terms."""
        return {"present": self.present, "absent": self.absent}

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Value T^2 KL(b || d), added up over the classes of a term."""
        p, q = teacher / self.temperature, student / self.temperature
        there, not_there = ((logsigmoid(s * p), logsigmoid(s * q)) for s in (1, -1))
        split = divergence_terms(*there) + divergence_terms(*not_there)
        scale = ramp * self.temperature**2
        return {k: scale * w * (split * on).sum(-1) for k, w, on in self._parts(teacher)}

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Gradient T (sigmoid(student / T) - sigmoid(teacher / T)) at the classes of a term."""
        p, q = ((x / self.temperature).sigmoid() for x in (teacher, student))
        scale = ramp * self.temperature
        return {k: scale * w * (q - p) * on for k, w, on in self._parts(teacher)}

    def _parts(self, teacher: Tensor) -> list[tuple[str, float, Tensor]]:
        there = teacher > 0
        return [("present", self.present, there), ("absent", self.absent, ~there)]


class BinaryCrossEntropy(Loss, name="bce"):
    """Cross-entropy of sigmoid heads with the labels: -sum_i y_i log d_i + (1 - y_i) log(1 - d_i).

    d_i = sigmoid(z_i) at T = 1, y_i in [0, 1] says whether class i is there. It is added up over
    the classes, in nats, and no ramp applies to it.

    Args:
        weight: factor on the term; 1 / c makes the sum a mean over c classes.

    Raises:
        ValueError: when called with targets that are neither class indices nor (n, c) in [0, 1].
    """

    distributions = False

    def __init__(self, weight: Real = 1.0) -> None:
        super().__init__()
        self.weight = float(weight)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of the term."""
        return {"bce": self.weight}

    @property
    def needs_index(self) -> str:
        """Nothing does: several classes may be there at once."""
        return ""

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Value -sum_i y_i log d_i + (1 - y_i) log(1 - d_i)."""
        y = memberships(target, student)
        return {
            "bce": -self.weight * (y * logsigmoid(student) + (1 - y) * logsigmoid(-student)).sum(-1)
        }

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Gradient sigmoid(z) - y."""
        return {"bce": self.weight * (student.sigmoid() - memberships(target, student))}
