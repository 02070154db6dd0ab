"""Gram matrices of a loss's terms: inner products of their gradients in closed form.

Norms are the roots of the diagonal; cosines, shares and the norm of any weighted total follow from
the entries, and the matrix of several layers is the sum of theirs. The gradients in the student's
logits are the losses' own (``loss.gradients``), those in a linear head follow from its input; no
backward pass happens here (see ``parameters`` for any other layer). All sums are in float64.
Index legend: t, s terms; n samples; c classes; d features; p parameters.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

PIECE = 1 << 17  # numbers that are multiplied in float64 at a time


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
    target: Int[Tensor, " n"] | Float[Tensor, "n c"],
    ramp: int | float = 1.0,
) -> Float[Tensor, "t n c *r"]:
    """Stack the weighted gradients of all terms, in the order of ``loss.terms``."""
    gradients = loss.gradients(student, teacher, target, ramp)
    return torch.stack([gradients[term] for term in loss.terms])


def gram(rows: Float[Tensor, "t p"]) -> Float[Tensor, "t t"]:
    """Inner products of the rows, a piece at a time: a copy of all would take twice theirs."""
    pieces = (piece.double() for piece in rows.split(max(1, PIECE // max(1, len(rows))), dim=1))
    return sum(piece @ piece.T for piece in pieces)


def grams_by_layer(
    rows: Float[Tensor, "t p"], sizes: Mapping[str, int]
) -> dict[str, Float[Tensor, "t t"]]:
    """Inner products of the rows over the columns of each layer, which has so many of them."""
    columns = rows.split(list(sizes.values()), dim=1)
    return {name: gram(part) for name, part in zip(sizes, columns, strict=True)}


def listed_gram(
    gradients: Sequence[Float[Tensor, "*shape"]], between: Float64[Tensor, "m m"] | None = None
) -> Float64[Tensor, "t t"]:
    """Inner products of gradients where they lie: side by side they would take as much again.

        G_st = <g^s, g^t>, or of D_t' A, which is never made, <D_s, (A A') D_t>

    Args:
        gradients: g, or D where A is given: (m, o), or (n, o, *places) of a convolution.
        between: A A', of the input A of the layer in whose output D are the gradients.
    """
    gradients = [torch.atleast_1d(g) for g in gradients]
    first = gradients[0]
    axis = max(range(first.dim()), key=first.stride) if between is None else 1  # pieces in a row
    step = max(1, PIECE * first.shape[axis] // max(1, len(gradients) * first.numel()))
    total = first.new_zeros(len(gradients), len(gradients), dtype=torch.float64)
    for pieces in zip(*(g.split(step, axis) for g in gradients), strict=True):
        rows = others = torch.stack(pieces).double()
        if between is not None:
            rows = rows.movedim(2, -1).flatten(1, -2)
            others = between @ rows
        total.addmm_(rows.flatten(1), others.flatten(1).T)
    return total


def sample_grams(gradients: Float[Tensor, "t n c"]) -> Float[Tensor, "n t t"]:
    """Inner products of the terms' gradients of every single sample."""
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


def linear_sample_grams(
    features: Float[Tensor, "n d"],
    gradients: Float[Tensor, "t n c"],
    weight: bool = True,
    bias: bool = True,
) -> Float[Tensor, "n t t"]:
    """Inner products of the terms' gradients in (W, b) of every single sample.

        <g_i^s, g_i^t> = (a_i . a_i + 1) (d_i^s . d_i^t)

    Args:
        features: a, the input of the head.
        gradients: d, per sample and not divided by n, as ``term_gradients`` gives them.
        weight: whether W counts (else the first summand of the bracket falls away).
        bias: whether b counts (else the 1 does).
    """
    features, gradients = features.double(), gradients.double()
    length = weight * features.square().sum(-1) + bias
    return torch.einsum("n,snc,tnc->nst", length, gradients, gradients)


def linear_mean(
    features: Float[Tensor, "n d"],
    gradients: Float[Tensor, "t n c"],
    weight: bool = True,
    bias: bool = True,
) -> Float[Tensor, "t p"]:
    """Gradients of the batch means, flat; 0 of no sample; arguments as above.

    g^t = 1/n sum_i (d_i^t a_i', d_i^t), the entries of W before those of b
    """
    features, gradients = features.double(), gradients.double()
    count = max(len(features), 1)
    means = [gradients.sum(1) / count] if bias else []
    if weight:
        means.insert(0, (gradients.transpose(1, 2) @ features / count).flatten(1))
    return torch.cat(means, dim=1)


def linear_covariance(
    features: Float[Tensor, "n d"],
    gradients: Float[Tensor, "t n c"],
    weight: bool = True,
    bias: bool = True,
) -> Float[Tensor, "t t"]:
    """Trace of the covariance of the per-sample gradients of two terms.

        C_st = 1/(n - 1) sum_i <g_i^s - g^s, g_i^t - g^t>
             = (sum_i <g_i^s, g_i^t> - n <g^s, g^t>) / (n - 1)

    The diagonal holds the variances, summed over all parameters. Unbiased; NaN for one sample.
    """
    count = len(features)
    within = linear_sample_grams(features, gradients, weight, bias).sum(0)
    between = count * gram(linear_mean(features, gradients, weight, bias))
    return (within - between) / (count - 1) if count > 1 else torch.full_like(between, torch.nan)
