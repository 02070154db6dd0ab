"""One side of a threshold around any loss: the samples that the teacher is sure of, or the rest."""

from math import log, log1p

import torch
from torch import Tensor

from kdanalysis.core.partition import check_target
from kdanalysis.losses.around import Around
from kdanalysis.losses.base import Loss, Real, check_loss

SIDES = ("sure", "unsure")


class Confident(Around, prefixes={f"{side}-": {"side": side} for side in SIDES}):
    """Any loss on the samples whose label the teacher gives more than a threshold, or on the rest.

    Made for DKD's question which samples nckd teaches with (table 5, arXiv 2203.08679). The paper
    ranks the training set and takes one half; here a sample's side depends on nothing but the
    teacher's own p_label at T = 1, so that batches do not matter: the median p_label, which the
    table ``nckd`` names, makes halves. The other samples have terms of 0 and still count in the
    mean over the batch.

    Args:
        loss: the loss of the samples kept, on whole images.
        threshold: of p_label, above 0 and below 1.
        side: "sure" keeps p_label above the threshold, "unsure" the others.

    Raises:
        ValueError: a loss on regions, a threshold that is no probability, or an unknown side.
    """

    needs_target, needs_index, ignore_index = True, "Confident", None

    def __init__(self, loss: Loss, threshold: Real = 0.5, side: str = "sure") -> None:
        super().__init__()
        if check_loss(loss).scales is not None:
            raise ValueError(f"Confident needs a loss on whole images, got {loss}")
        if side not in SIDES:
            raise ValueError(f"side is one of {SIDES}, got {side!r}")
        self.loss, self.side = loss, side
        self.threshold = float(threshold)
        if not 0 < self.threshold < 1:
            raise ValueError(
                f"threshold must lie between 0 and 1, both excluded, got {threshold!r}"
            )

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """The inner loss's terms, 0 for the samples left out."""
        kept = self._keep(teacher, target)
        inner = self.loss.values(student, teacher, target, ramp)
        return {name: term * kept for name, term in inner.items()}

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """The inner loss's gradients, 0 for the samples left out."""
        kept = self._keep(teacher, target).unsqueeze(-1)
        inner = self.loss.slopes(student, teacher, target, ramp)
        return {name: slope * kept for name, slope in inner.items()}

    def _keep(self, teacher: Tensor, target: Tensor) -> Tensor:
        """1 for the samples kept, 0 for the others; by log odds, which resolve p_label near 1."""
        check_target(target, teacher.shape[-1])
        label = target.long().unsqueeze(-1)
        rest = teacher.scatter(-1, label, -torch.inf).logsumexp(-1)
        odds = teacher.gather(-1, label).squeeze(-1) - rest
        sure = odds > log(self.threshold) - log1p(-self.threshold)
        return (sure if self.side == "sure" else ~sure).to(teacher.dtype)
