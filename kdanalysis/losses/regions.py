"""Scale decoupled distillation: a loss on the regions of an image instead of the whole (SDD)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import mul
from typing import Any, SupportsIndex

from torch import Tensor

from kdanalysis.core.cases import SPLITS, complementary, region_pairs
from kdanalysis.core.regions import check_scales, count_regions
from kdanalysis.losses.base import Loss, Real, check_loss

REDUCTIONS = ("mean", "sum")
CONSISTENT, COMPLEMENTARY = "consistent", "complementary"


class SDD(Loss, prefixes={"sdd-": {}}):
    r"""Scale decoupled distillation around any loss (Wei et al., CVPR 2024, arXiv 2403.13512).

    .. math:: L = v \sum_{r\ consistent} D(z_r, t_r) + w \sum_{r\ complementary} D(z_r, t_r)

    Called with region logits (n, c, r) of both sides, as ``region_logits`` makes them, the first
    region being the global one. Each term of the base loss D becomes two, ``consistent/NAME`` and
    ``complementary/NAME``, per sample over its regions. In a ``Sum`` the other losses see the
    global region.

    Args:
        base: the loss of one region, such as KD, DKD, GDKD or NKD.
        scales: m x m regions for each m, rising from 1; the paper's (1, 2) for similar and
            (1, 2, 4) for different architectures.
        complementary_weight: w, 2 in the paper.
        split: when a region is complementary. "class": the teacher's class is another than its
            global one (the paper's text). "correctness": one of them is right and the other is
            not (the published code).
        reduction: "mean" over a sample's regions, so that the training loss is the mean over
            (sample, region) pairs, as in the published code; or their "sum", as in equation 9.
        consistent_weight: v, 1 in the paper; 0 leaves the complementary part alone.

    Raises:
        ValueError: a base that is itself on regions, or an option that cannot be used.
    """

    def __init__(
        self,
        base: Loss,
        scales: Iterable[SupportsIndex] = (1, 2, 4),
        complementary_weight: Real = 2.0,
        split: str = "class",
        reduction: str = "mean",
        consistent_weight: Real = 1.0,
    ) -> None:
        super().__init__()
        if check_loss(base).scales is not None:
            raise ValueError(f"the base of SDD is a loss on one region, got {base}")
        if split not in SPLITS:
            raise ValueError(f"split is one of {SPLITS}, got {split!r}")
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction is one of {REDUCTIONS}, got {reduction!r}")
        self.base, self.split, self.reduction = base, split, reduction
        self.scales = check_scales(scales)
        self.complementary_weight = float(complementary_weight)
        self.consistent_weight = float(consistent_weight)

    @property
    def term_weights(self) -> dict[str, float]:
        """Weights of the base's terms, in consistent and in complementary regions."""
        weights = self.consistent_weight, self.complementary_weight
        return _both(self.base.term_weights, weights, mul)

    @property
    def temperature(self) -> float | None:
        """The base's temperature."""
        return self.base.temperature

    @property
    def needs_target(self) -> bool:
        """Whether the base or the split looks at the labels."""
        return self.base.needs_target or self.split == "correctness"

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Add up the base's terms over the consistent and over the complementary regions."""
        parts = self.base.values(*region_pairs(student, teacher, target), ramp)
        shares = self._shares(teacher, target)
        return _both(parts, shares, lambda part, by: (part.unflatten(0, by.shape) * by).sum(0))

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: Real
    ) -> dict[str, Tensor]:
        """Weigh the base's gradients, a region's standing in its own column."""
        parts = self.base.slopes(*region_pairs(student, teacher, target), ramp)

        def weigh(part: Tensor, by: Tensor) -> Tensor:
            return (part.unflatten(0, by.shape) * by.unsqueeze(-1)).permute(1, 2, 0)

        return _both(parts, self._shares(teacher, target), weigh)

    def _shares(self, teacher: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Factors (r, n) of every region in the consistent and in the complementary terms."""
        other = complementary(teacher, target, self.split).T.to(teacher.dtype)
        share = 1.0 if self.reduction == "sum" else 1 / count_regions(self.scales)
        first, second = share * self.consistent_weight, share * self.complementary_weight
        return first * (1 - other), second * other


def _both(parts: Mapping, weights: Sequence, weigh: Callable) -> dict[str, Any]:
    """Weigh the base's terms as of consistent and as of complementary regions."""
    return {
        f"{kind}/{name}": weigh(part, by)
        for kind, by in zip((CONSISTENT, COMPLEMENTARY), weights, strict=True)
        for name, part in parts.items()
    }
