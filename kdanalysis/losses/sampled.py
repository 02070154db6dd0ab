"""Losses of sampled tokens: draws from the teacher, and the one token that the student sampled."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from kdanalysis.core.draws import check_seed, draw
from kdanalysis.core.partition import check_target
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.sparse_checks import number
from kdanalysis.core.sparse_rows import log_of
from kdanalysis.core.streams import check_temperature
from kdanalysis.losses.base import Loss, Real
from kdanalysis.losses.sides import Side

ESTIMATORS = ("k1", "k2", "k3", "pg")


class RandomSampling(Loss, name="rs"):
    """Random sampling distillation (Anshumann et al., ACL 2025, arXiv 2503.16870).

        L = T^2 / N sum over N tokens y drawn from p of log(p_y / q_y)

    Unbiased: over the draws the value is KL(p || q) and the gradient q - p, with a noise of
    (1 - |p|^2) / N in its squared length. Of logits the draws are made here, by the order of the
    teacher's largest classes and the seed, so that a row has the same in every epoch, as in a
    cache. A SparseTeacher of the kind "sampled" brings its own, at its own temperature.

    Args:
        n: number of draws from a teacher's logits.
        seed: of these draws.
        temperature: T > 0.
        weight: factor on the term.
    """

    needs_target = False

    def __init__(
        self, n: int = 50, seed: int = 0, temperature: Real = 1.0, weight: Real = 1.0
    ) -> None:
        super().__init__()
        self.n, self.seed = number("n", n), check_seed(seed)
        self.temperature = check_temperature(temperature)
        self.weight = float(weight)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of the term."""
        return {"rs": self.weight}

    def check_known(self, teacher: SparseTeacher) -> None:
        """Refuse tokens that were chosen by their size."""
        if teacher.kind != "sampled":
            raise ValueError(
                f"RandomSampling draws from all tokens, and {teacher} knows the largest alone: it "
                f"needs kind='sampled' with the counts of draws, or the teacher's logits"
            )

    def values(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Mean over the draws of log(p / q)."""
        ids, share, log_p = self._draws(teacher, student)
        soft = student / self.temperature
        log_q = soft.gather(-1, ids) - soft.logsumexp(-1, keepdim=True)
        scale = ramp * self.weight * self.temperature**2
        return {"rs": scale * (share * (log_p - log_q)).sum(-1)}

    def slopes(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Gradient T (q - counts / N)."""
        ids, share, _ = self._draws(teacher, student)
        q = (student / self.temperature).softmax(-1)
        scale = ramp * self.weight * self.temperature
        return {"rs": scale * q.scatter_add(-1, ids, -share)}

    def _draws(self, teacher: Side, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, the share of the draws that each has, and their log-probabilities."""
        if isinstance(teacher, SparseTeacher):
            known = teacher.at(self.temperature)
            counts = known.counts.to(like)
            log_p = known.logprobs.where(known.present, 0.0).to(like)
            return known.ids.clamp(min=0).long(), counts / counts.sum(-1, keepdim=True), log_p
        soft = teacher / self.temperature
        ids = draw(soft, self.n, self.seed)
        log_p = soft.gather(-1, ids) - soft.logsumexp(-1, keepdim=True)
        return ids, torch.full_like(log_p, 1 / self.n), log_p


class Sampled(Loss, name="sample"):
    """One-sample estimators of KL(q || p) as losses, with r = log(q_y / p_y) of a token y.

        k1: r      k2: r^2 / 2      k3: e^-r - 1 + r      pg: r, its gradient r (e_y - q)

    y is the target, to be drawn from the student at T, as in training on the student's own
    tokens. As values k1, k3 and pg estimate the reverse KL; as losses they do not: over y the
    gradient of k1 is 0, that of k3 is *forward* KL's, and those of k2 and of the policy gradient
    are reverse KL's. (Estimators: Schulman, "Approximating KL divergence", 2020.)

    Args:
        estimator: "k1", "k2", "k3" or "pg".
        temperature: T > 0.
        weight: factor on the term.

    Raises:
        ValueError: an unknown estimator; when called, a target that is no token or of which a
            SparseTeacher does not know the log-probability, or a k3 that overflows.
    """

    def __init__(self, estimator: str = "k1", temperature: Real = 1.0, weight: Real = 1.0) -> None:
        super().__init__()
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator is one of {ESTIMATORS}, got {estimator!r}")
        self.estimator = estimator
        self.temperature = check_temperature(temperature)
        self.weight = float(weight)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of the term."""
        return {"sample": self.weight}

    def check_known(self, teacher: SparseTeacher) -> None:
        """Any will do that knows the targets."""

    def values(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """The estimator's value."""
        ratio = self._ratio(student, teacher, target)
        value = {
            "k1": lambda: ratio,
            "k2": lambda: ratio**2 / 2,
            "k3": lambda: _finite((-ratio).expm1() + ratio),
            "pg": lambda: ratio.detach() * (1 + ratio - ratio.detach()),
        }[self.estimator]()
        return {"sample": ramp * self.weight * self.temperature**2 * value}

    def slopes(
        self, student: Tensor, teacher: Side, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Gradient T w (e_y - q), w = 1, r, 1 - e^-r and r."""
        ratio = self._ratio(student, teacher, target)
        factor = {
            "k1": lambda: torch.ones_like(ratio),
            "k2": lambda: ratio,
            "k3": lambda: -_finite((-ratio).expm1()),
            "pg": lambda: ratio,
        }[self.estimator]()
        q = (student / self.temperature).softmax(-1)
        scale = ramp * self.weight * self.temperature
        return {"sample": scale * factor.unsqueeze(-1) * (one_hot(target.long(), q.shape[-1]) - q)}

    def _ratio(self, student: Tensor, teacher: Side, target: Tensor) -> Tensor:
        """Log of q / p of every target."""
        check_target(target, student.shape[-1])
        if isinstance(teacher, SparseTeacher):
            log_p = log_of(teacher.at(self.temperature), target).to(student)
        else:
            log_p = _picked(teacher / self.temperature, target)
        return _picked(student / self.temperature, target) - log_p


def _picked(soft: Tensor, target: Tensor) -> Tensor:
    return soft.gather(-1, target.long().unsqueeze(-1)).squeeze(-1) - soft.logsumexp(-1)


def _finite(values: Tensor) -> Tensor:
    if not values.isfinite().all():
        row = int((~values.isfinite()).nonzero()[0])
        raise ValueError(
            f"k3 of row {row} overflows: the teacher finds its token so much likelier than the "
            f"student that p / q is no number"
        )
    return values
