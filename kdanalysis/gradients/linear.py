"""Gradients of loss terms in the parameters of a linear head, in closed form.

For logits z_i = W a_i + b and the gradient d_i^t of term t in z_i, sample i's gradient is an outer
product, and no backward pass is needed for anything made of it:

    d term_t / d W = d_i^t a_i'        d term_t / d b = d_i^t

Index legend: t, s terms; n samples i; c classes; d features.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def linear_gram(
    features: Float[Tensor, "n d"],
    gradients: Float[Tensor, "t n c"],
    weight: bool = True,
    bias: bool = True,
) -> Float[Tensor, "n t t"]:
    """Inner products of the terms' gradients in (W, b) of every single sample, in float64.

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
    """Gradients of the batch means, flat and in float64; 0 of no sample; arguments as above.

    g^t = 1/n sum_i (d_i^t a_i', d_i^t), the entries of W before those of b
    """
    features, gradients = features.double(), gradients.double()
    count = max(len(features), 1)
    means = [gradients.sum(1) / count] if bias else []
    if weight:
        means.insert(0, (gradients.transpose(1, 2) @ features / count).flatten(1))
    return torch.cat(means, dim=1)


def linear_mean_gram(
    features: Float[Tensor, "n d"],
    gradients: Float[Tensor, "t n c"],
    weight: bool = True,
    bias: bool = True,
) -> Float[Tensor, "t t"]:
    """Inner products of ``linear_mean``, in float64; arguments as above."""
    rows = linear_mean(features, gradients, weight, bias)
    return rows @ rows.T


def linear_covariance(
    features: Float[Tensor, "n d"],
    gradients: Float[Tensor, "t n c"],
    weight: bool = True,
    bias: bool = True,
) -> Float[Tensor, "t t"]:
    """Trace of the covariance of the per-sample gradients of two terms, in float64.

        C_st = 1/(n - 1) sum_i <g_i^s - g^s, g_i^t - g^t>
             = (sum_i <g_i^s, g_i^t> - n <g^s, g^t>) / (n - 1)

    The diagonal holds the variances, summed over all parameters. Unbiased; NaN for one sample.
    """
    count = len(features)
    within = linear_gram(features, gradients, weight, bias).sum(0)
    between = count * linear_mean_gram(features, gradients, weight, bias)
    return (within - between) / (count - 1) if count > 1 else torch.full_like(between, torch.nan)
