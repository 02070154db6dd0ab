"""Decoupled distillation: DKD, GDKD and GDKD over three groups."""

from collections.abc import Iterable
from typing import SupportsFloat, SupportsIndex

from kdanalysis.core.partition import AutoK, Target, Top1, Top1TopK, TopK
from kdanalysis.core.streams import check_temperature
from kdanalysis.losses.base import Real
from kdanalysis.losses.parts import Decoupled


class DKD(Decoupled, name="dkd"):
    """Decoupled knowledge distillation (Zhao et al., CVPR 2022, arXiv 2203.08679).

        L = T^2 (alpha KL(b_p || b_q) + beta KL(p|rest || q|rest))

    ``tckd`` compares the masses (b: target and rest), ``nckd`` the non-target classes. The
    paper trains CE + ramp * L with alpha 1, beta 8, T 4 on CIFAR-100.

    Args:
        alpha: weight of tckd.
        beta: weight of nckd.
        temperature: T > 0.
        partition: the class set apart: the label ("target") or the teacher's argmax ("top1").
    """

    def __init__(
        self,
        alpha: Real = 1.0,
        beta: Real = 8.0,
        temperature: Real = 4.0,
        partition: str = "target",
    ) -> None:
        rules = {"target": Target(), "top1": Top1()}
        if partition not in rules:
            raise ValueError(f"partition of DKD is 'target' or 'top1', got {partition!r}")
        names = ("tckd", None, "nckd")
        super().__init__(rules[partition], (alpha, 0.0, beta), temperature, names)

    @property
    def alpha(self) -> float:
        """Weight of tckd."""
        return self.weights[0]

    @property
    def beta(self) -> float:
        """Weight of nckd."""
        return self.weights[2]

    def __repr__(self) -> str:
        rule = "target" if isinstance(self.partition, Target) else "top1"
        return (
            f"DKD(alpha={self.alpha!r}, beta={self.beta!r}, temperature={self.temperature!r}, "
            f"partition={rule!r})"
        )


class GDKD(Decoupled, name="gdkd"):
    """Generalized decoupled knowledge distillation (Zheng and Cheng, arXiv 2512.04625).

        L = T^2 (w0 KL(P || Q) + w1 D(p|top, q|top) + w2 D(p|other, q|other))

    The top group holds the teacher's k largest classes. The paper's weights: 1/1/8 with k 5 and
    T 4 on CIFAR-100 (2/8 for resnet32x4 to resnet8x4), .5/1/1 at T 1 on ImageNet.

    Args:
        k: size of the top group; "auto" or an AutoK chooses it for every sample.
        weights: w0, w1, w2 of ``high``, ``low_top``, ``low_other``; "mass" as ``Decoupled`` has it.
        temperature: T > 0.
        strategy: "best", or "worst" for the k smallest classes instead.
        divergence: D is KL(p || q) ("forward"), KL(q || p) ("reverse") or their mean ("both").
    """

    def __init__(
        self,
        k: SupportsIndex | AutoK | str = 5,
        weights: Iterable[SupportsFloat | str] | str = (1.0, 1.0, 8.0),
        temperature: Real = 4.0,
        strategy: str = "best",
        divergence: str = "forward",
    ) -> None:
        temperature = check_temperature(temperature)
        if isinstance(k, str):
            if k.lower() != "auto":
                raise ValueError(f"k of GDKD is a number, 'auto' or an AutoK, got {k!r}")
            k = AutoK(temperature=temperature)
        if isinstance(k, AutoK) and strategy != "best":
            raise ValueError("GDKD with auto-k has only the strategy 'best'")
        partition = k if isinstance(k, AutoK) else TopK(k, strategy)
        names = ("high", "low_top", "low_other")
        super().__init__(partition, weights, temperature, names, divergence)

    @property
    def k(self) -> int | AutoK:
        """Size of the top group, or the rule that chooses it."""
        return self.partition.k if isinstance(self.partition, TopK) else self.partition

    @property
    def strategy(self) -> str:
        """Whether the k largest ("best") or smallest ("worst") classes are set apart."""
        return self.partition.strategy if isinstance(self.partition, TopK) else "best"


class GDKD3(Decoupled, name="gdkd3"):
    """GDKD over three groups: the teacher's top class, its ranks 2 to k, the rest (2512.04625).

    ``high`` compares the three masses; ``low_top`` is the divergence inside ranks 2 to k. The
    paper's settings: k 4 and 1/1/8 on CNNs, k 5 and 1/1/1 on ViTs.

    Args:
        k: last rank of the middle group, 2 <= k < c.
        weights: w0, w1, w2 of ``high``, ``low_top``, ``low_other``; "mass" as ``Decoupled`` has it.
        temperature: T > 0.
    """

    def __init__(
        self,
        k: SupportsIndex = 4,
        weights: Iterable[SupportsFloat | str] = (1.0, 1.0, 8.0),
        temperature: Real = 4.0,
    ) -> None:
        weights = tuple(weights)
        if len(weights) != 3:
            raise ValueError(f"GDKD3 needs 3 weights (high, low_top, low_other), got {weights}")
        names = ("high", None, "low_top", "low_other")
        high, low_top, low_other = weights
        super().__init__(Top1TopK(k), (high, 0.0, low_top, low_other), temperature, names)

    @property
    def k(self) -> int:
        """Last rank of the middle group."""
        return self.partition.k

    def __repr__(self) -> str:
        weights = (self.weights[0], *self.weights[2:])
        return f"GDKD3(k={self.k}, weights={weights!r}, temperature={self.temperature!r})"
