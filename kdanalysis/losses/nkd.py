"""Normalized knowledge distillation: a target term and a non-target cross-entropy."""

from typing import ClassVar

import torch
from torch import Tensor

from kdanalysis.core.partition import check_target
from kdanalysis.core.streams import check_temperature
from kdanalysis.losses.base import Loss, Real


class NKD(Loss, name="nkd"):
    """Normalized KD (Yang et al., ICCV 2023, arXiv 2303.13005), without its cross-entropy.

        L = -p_t log q_t  -  gamma T^2 sum_{i != t} p_i|rest log q_i|rest

    p_t and q_t are the target's probabilities at T = 1, p|rest and q|rest the distributions at T
    renormalised over the classes other than the target. Terms: ``nkd_target``, ``nkd_other``.
    Both are cross-entropies: they do not vanish where the student equals the teacher.

    Args:
        temperature: T of the second term.
        gamma: weight of the second term.
        official: reproduce the code published with SDD, whose mask keeps the target in the
            second term, so that it runs over all classes.
    """

    colours: ClassVar = {"nkd_target": "olive", "nkd_other": "wine"}

    def __init__(self, temperature: Real = 1.0, gamma: Real = 1.5, official: bool = False) -> None:
        super().__init__()
        self.temperature, self.official = check_temperature(temperature), official
        self.gamma = float(gamma)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weights of the two terms."""
        return {"nkd_target": 1.0, "nkd_other": self.gamma}

    def _others(self, logits: Tensor, target: Tensor) -> Tensor:
        if logits.shape[-1] < 2:
            raise ValueError("NKD needs at least 2 classes: without others its term is undefined")
        soft = logits / self.temperature
        return soft if self.official else soft.scatter(-1, target, float("-inf"))

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """The two cross-entropies."""
        check_target(target, student.shape[-1])
        target = target.long().unsqueeze(-1)
        log_q = student.log_softmax(-1).gather(-1, target).squeeze(-1)
        p_target = teacher.softmax(-1).gather(-1, target).squeeze(-1)
        q_rest = self._others(student, target).log_softmax(-1)
        q_rest = q_rest if self.official else q_rest.scatter(-1, target, 0.0)
        p_rest = self._others(teacher, target).softmax(-1)
        scale = ramp * self.gamma * self.temperature**2
        return {
            "nkd_target": -ramp * p_target * log_q,
            "nkd_other": -scale * (p_rest * q_rest).sum(-1),
        }

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Gradients p_t (q - onehot) and gamma T (q|rest - p|rest)."""
        check_target(target, student.shape[-1])
        target = target.long().unsqueeze(-1)
        onehot = torch.zeros_like(student).scatter(-1, target, 1.0)
        p_target = teacher.softmax(-1).gather(-1, target)
        rest = [self._others(x, target).softmax(-1) for x in (student, teacher)]
        return {
            "nkd_target": ramp * p_target * (student.softmax(-1) - onehot),
            "nkd_other": ramp * self.gamma * self.temperature * (rest[0] - rest[1]),
        }
