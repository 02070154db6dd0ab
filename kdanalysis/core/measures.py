"""How far q is from p: the divergences between two distributions, each with its gradient.

Every one takes log-probabilities of the same classes, (..., c), normalised, and gives

    value: D(p, q) in nats, (...), no T^2
    slope: the gradient in the logits of q, (..., c), which sums to zero

The classes may be those of a whole vocabulary, or a few tokens and one more for all others. Where
a class is absent both sides hold the same number, below any that has weight.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log, log1p

from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.divergence import divergence_terms

Logs = Float[Tensor, "*shape c"]


class Measure(ABC):
    """A divergence with its parameters."""

    @abstractmethod
    def value(self, log_p: Logs, log_q: Logs) -> Float[Tensor, "*shape"]:
        """Return D(p, q); autograd goes through it."""

    @abstractmethod
    def slope(self, log_p: Logs, log_q: Logs) -> Logs:
        """Return the gradient of D in the logits of q."""


def centred(q: Logs, part: Logs) -> Logs:
    """Return the gradient in logits of what has the gradient ``part`` in the logs of q."""
    return part - q * part.sum(-1, keepdim=True)


@dataclass(frozen=True)
class Forward(Measure):
    """KL(p || q)."""

    def value(self, log_p: Logs, log_q: Logs) -> Float[Tensor, "*shape"]:
        """Sum p log(p / q)."""
        return divergence_terms(log_p, log_q).sum(-1)

    def slope(self, log_p: Logs, log_q: Logs) -> Logs:
        """Gradient q - p."""
        return log_q.exp() - log_p.exp()


@dataclass(frozen=True)
class Reverse(Measure):
    """KL(q || p)."""

    def value(self, log_p: Logs, log_q: Logs) -> Float[Tensor, "*shape"]:
        """Sum q log(q / p)."""
        return divergence_terms(log_q, log_p).sum(-1)

    def slope(self, log_p: Logs, log_q: Logs) -> Logs:
        """Gradient q (r - sum q r), r = log(q / p)."""
        q = log_q.exp()
        return centred(q, q * (log_q - log_p))


@dataclass(frozen=True)
class JensenShannon(Measure):
    """b KL(p || m) + (1 - b) KL(q || m), m = b p + (1 - b) q, 0 < b < 1 (2306.13649).

    It vanishes like b and 1 - b towards the ends. ``scale`` divides by b (1 - b): then the ends
    are the forward and the reverse KL, without a step.
    """

    beta: float
    scale: bool = False

    def value(self, log_p: Logs, log_q: Logs) -> Float[Tensor, "*shape"]:
        """The two divergences from the mixture."""
        log_m, b = _mixture(log_p, log_q, self.beta), self.beta
        both = b * divergence_terms(log_p, log_m) + (1 - b) * divergence_terms(log_q, log_m)
        return self._factor() * both.sum(-1)

    def slope(self, log_p: Logs, log_q: Logs) -> Logs:
        """Gradient (1 - b) q (log(q / m) - KL(q || m))."""
        q = log_q.exp()
        ratio = log_q - _mixture(log_p, log_q, self.beta)
        return self._factor() * (1 - self.beta) * centred(q, q * ratio)

    def _factor(self) -> float:
        return 1 / (self.beta * (1 - self.beta)) if self.scale else 1.0


@dataclass(frozen=True)
class SkewForward(Measure):
    """KL(p || a p + (1 - a) q), 0 < a < 1 (DistiLLM, 2402.03898)."""

    alpha: float

    def value(self, log_p: Logs, log_q: Logs) -> Float[Tensor, "*shape"]:
        """Divergence from the mixture."""
        return divergence_terms(log_p, _mixture(log_p, log_q, self.alpha)).sum(-1)

    def slope(self, log_p: Logs, log_q: Logs) -> Logs:
        """Gradient -(1 - a) (w - q sum w), w = p q / m."""
        weight = (log_p + log_q - _mixture(log_p, log_q, self.alpha)).exp()
        return (self.alpha - 1) * centred(log_q.exp(), weight)


@dataclass(frozen=True)
class SkewReverse(Measure):
    """KL(q || (1 - a) p + a q), 0 < a < 1 (DistiLLM, 2402.03898)."""

    alpha: float

    def value(self, log_p: Logs, log_q: Logs) -> Float[Tensor, "*shape"]:
        """Divergence from the mixture."""
        return divergence_terms(log_q, _mixture(log_q, log_p, self.alpha)).sum(-1)

    def slope(self, log_p: Logs, log_q: Logs) -> Logs:
        """Gradient q (g - sum q g), g = log(q / m) - a q / m."""
        q, ratio = log_q.exp(), log_q - _mixture(log_q, log_p, self.alpha)
        return centred(q, q * (ratio - self.alpha * ratio.exp()))


@dataclass(frozen=True)
class TotalVariation(Measure):
    """Half the sum of |p - q|."""

    def value(self, log_p: Logs, log_q: Logs) -> Float[Tensor, "*shape"]:
        """Half the sum of the absolute differences."""
        return (log_p.exp() - log_q.exp()).abs().sum(-1) / 2

    def slope(self, log_p: Logs, log_q: Logs) -> Logs:
        """Gradient q (s - sum q s) / 2, s the sign of q - p, 0 where they are equal."""
        q = log_q.exp()
        return centred(q, q * (q - log_p.exp()).sign() / 2)


@dataclass(frozen=True)
class AlphaBetaDivergence(Measure):
    """Sum of (a p^s + b q^s - s p^a q^b) / (a b s), s = a + b, a and b above 0 (2505.04560)."""

    alpha: float
    beta: float

    def value(self, log_p: Logs, log_q: Logs) -> Float[Tensor, "*shape"]:
        """The sum as it stands above; no class's part is negative."""
        a, b, both = self.alpha, self.beta, self.alpha + self.beta
        ends = a * (both * log_p).exp() + b * (both * log_q).exp()
        return (ends - both * (a * log_p + b * log_q).exp()).sum(-1) / (a * b * both)

    def slope(self, log_p: Logs, log_q: Logs) -> Logs:
        """Gradient h - q sum h, h = (q^s - p^a q^b) / a."""
        a, b = self.alpha, self.beta
        part = ((a + b) * log_q).exp() - (a * log_p + b * log_q).exp()
        return centred(log_q.exp(), part / a)


def _mixture(log_x: Logs, log_y: Logs, share: float) -> Logs:
    """Log of share x + (1 - share) y."""
    return (log_x + log(share)).logaddexp(log_y + log1p(-share))
