"""Other divergences that language models are distilled with: JSD, skewed KL, TV, alpha-beta."""

from kdanalysis.core.measures import (
    AlphaBetaDivergence,
    Forward,
    JensenShannon,
    Measure,
    Reverse,
    SkewForward,
    SkewReverse,
    TotalVariation,
)
from kdanalysis.losses.base import Real
from kdanalysis.losses.tokens import OverTokens
from kdanalysis.losses.truncated import DIRECTIONS, check_direction


class JSD(
    OverTokens,
    name="jsd",
    presets={
        "fkl": {"beta": 0.0},
        "rkl": {"beta": 1.0},
        "trl-server": {"beta": 0.0, "k": 64, "tail": "bucket"},
    },
):
    """Generalised Jensen-Shannon divergence (GKD, Agarwal et al., ICLR 2024, arXiv 2306.13649).

        L = T^2 (b KL(p || m) + (1 - b) KL(q || m)),   m = b p + (1 - b) q

    As in TRL, b = 0 is the forward and b = 1 the reverse KL. Neither is the limit: the divergence
    vanishes like b and 1 - b there, so that a step at b = .01 is some 100 times shorter than one
    at 0. ``scale`` divides by b (1 - b), which makes the ends continuous. Presets are the ends,
    ``fkl`` and ``rkl``, and ``trl-server``, TRL's trainer with a teacher behind a server, tail on
    and b = 0.

    Args:
        beta: b, from 0 to 1.
        scale: whether to divide by b (1 - b) between the ends.
        k: this and what follows as for ``OverTokens``.
    """

    def __init__(
        self,
        beta: Real = 0.5,
        scale: bool = False,
        k: int | None = None,
        tail: str = "bucket",
        temperature: Real = 1.0,
        weight: Real = 1.0,
    ) -> None:
        super().__init__(k, tail, temperature, weight)
        self.beta = float(beta)
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta of JSD must lie between 0 and 1, got {beta!r}")
        self.scale = scale

    @property
    def measure(self) -> Measure:
        """Forward and reverse KL at the ends."""
        if self.beta in (0.0, 1.0):
            return Reverse() if self.beta else Forward()
        return JensenShannon(self.beta, self.scale)


class SkewKL(OverTokens, name="skew"):
    """Skewed KL divergence (DistiLLM, Ko et al., ICML 2024, arXiv 2402.03898).

        forward: L = T^2 KL(p || a p + (1 - a) q)      reverse: L = T^2 KL(q || (1 - a) p + a q)

    Args:
        alpha: a, from 0 (plain KL) to below 1; .1 in the paper.
        divergence: "forward" or "reverse".
        k: this and what follows as for ``OverTokens``.
    """

    def __init__(
        self,
        alpha: Real = 0.1,
        divergence: str = "forward",
        k: int | None = None,
        tail: str = "bucket",
        temperature: Real = 1.0,
        weight: Real = 1.0,
    ) -> None:
        super().__init__(k, tail, temperature, weight)
        self.alpha = float(alpha)
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha of SkewKL must lie between 0 and 1, got {alpha!r}")
        self.divergence = check_direction(divergence)

    @property
    def measure(self) -> Measure:
        """The skewed KL, or the plain one without skew."""
        if not self.alpha:
            return DIRECTIONS[self.divergence]
        skewed = SkewForward if self.divergence == "forward" else SkewReverse
        return skewed(self.alpha)


class TVD(OverTokens, name="tvd"):
    """Total variation distance: L = T^2 sum |p - q| / 2 (f-distill, arXiv 2307.15190).

    Arguments as for ``OverTokens``.
    """

    measure = TotalVariation()


class AlphaBeta(OverTokens, name="ab"):
    """Alpha-beta divergence (ABKD, Wang et al., ICML 2025, arXiv 2505.04560).

        L = T^2 / (a b) sum (a p^s / s + b q^s / s - p^a q^b),   s = a + b

    Args:
        alpha: a > 0.
        beta: b > 0.
        k: this and what follows as for ``OverTokens``.
    """

    def __init__(
        self,
        alpha: Real = 0.2,
        beta: Real = 0.7,
        k: int | None = None,
        tail: str = "bucket",
        temperature: Real = 1.0,
        weight: Real = 1.0,
    ) -> None:
        super().__init__(k, tail, temperature, weight)
        self.alpha, self.beta = float(alpha), float(beta)
        if not (self.alpha > 0 and self.beta > 0):
            raise ValueError(
                f"alpha and beta of AlphaBeta must be above 0, got {alpha!r} and {beta!r}: towards "
                f"(1, 0) and (0, 1) it becomes the forward and the reverse KL, which 'topk' has"
            )

    @property
    def measure(self) -> Measure:
        """The divergence of the two parameters."""
        return AlphaBetaDivergence(self.alpha, self.beta)
