"""Per-sample gradients of a loss's terms in the student's logits: stacked, compared, checked.

The closed forms are the losses' own (``loss.gradients``); no backward pass happens here.
Index legend: t, s terms; n samples; c classes.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class HasGradients(Protocol):
    """What is needed of a loss: names of terms, and their closed-form gradients."""

    terms: tuple[str, ...]

    def gradients(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: int | float = 1.0
    ) -> dict[str, Tensor]:
        """Return the gradient (n, c) of every term."""


def term_gradients(
    loss: HasGradients,
    student: Float[Tensor, "n c *r"],
    teacher: Float[Tensor, "n c *t"],
    target: Int[Tensor, " n"],
    ramp: int | float = 1.0,
) -> Float[Tensor, "t n c *r"]:
    """Stack the weighted gradients of all terms, in the order of ``loss.terms``."""
    gradients = loss.gradients(student, teacher, target, ramp)
    return torch.stack([gradients[term] for term in loss.terms])


def gram(gradients: Float[Tensor, "t n c"]) -> Float[Tensor, "n t t"]:
    """Inner products of the terms' gradients per sample, in float64.

    Norms are the square roots of the diagonal; cosines, shares and the norm of any weighted
    total follow from the entries.
    """
    gradients = gradients.double()
    return torch.einsum("tnc,snc->nts", gradients, gradients)


def residual(closed: Float[Tensor, "n c"], sent: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Distance between two gradients per sample, relative to the longer one; in [0, 2].

        ||closed - sent|| / max(||closed||, ||sent||), and 0 where both are zero

    Near 0 where autograd sent what the closed forms say; a wrong loss, a forgotten weight or a
    detached branch shows as a large value. NaN stays NaN.
    """
    closed, sent = closed.double(), sent.double()
    longer = torch.maximum(closed.norm(dim=-1), sent.norm(dim=-1))
    distance = (closed - sent).norm(dim=-1)
    return torch.where(longer == 0, distance, distance / longer)
