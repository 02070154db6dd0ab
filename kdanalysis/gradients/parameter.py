"""Gradients of loss terms in a student's parameters, from one forward graph.

The gradient of term t in the parameters is the vector-Jacobian product of the student's logits with
the term's closed-form gradient in them: the terms themselves are never computed, and the graph is
walked once a term, down to the first chosen layer only. Parameters' own ``grad`` stays as it is.

Kept is the Gram matrix of the terms, layer by layer: norms are the roots of its diagonal, cosines
follow, and the matrix of several layers is the sum of theirs.

Walking the graph once for all terms (``is_grads_batched``) was measured on one CPU thread, batch
64, 4 terms, all parameters: 1.22 times as slow for resnet20, 1.25 for resnet8x4, 1.26 for a
transformer of 2 layers, 0.93 for a plain network of 3 linear layers. So it is not used.

Index legend: t, s terms; n samples; c classes.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Layers = Mapping[str, Sequence[Tensor]]


def layer_grams(
    logits: Float[Tensor, "n c"],
    gradients: Float[Tensor, "t n c"],
    layers: Layers,
    scale: int | float = 1.0,
) -> dict[str, Float[Tensor, "t t"]]:
    """Inner products, in float64, of the terms' gradients in the parameters of each layer.

        g^t = J' d^t / n        G_st = <g^s, g^t>

    d^t are the gradients in the logits per sample, J is the Jacobian of the logits, so g^t is the
    gradient of the batch mean of term t, what its ``mean().backward()`` would leave in ``grad``.

    The time is that of one backward pass a term, less what the pass needs for the layers left out.
    The memory beside the graph is one gradient of the chosen parameters a term, the largest of them
    once more in float64, and what a backward pass needs itself. The graph stays for the training's
    own backward pass.

    Args:
        logits: the student's, part of the graph.
        gradients: per sample, not divided by n, as ``term_gradients`` gives them.
        layers: the parameters of each layer by its name.
        scale: the gradients are multiplied by it on their way and the result is divided by its
            square: a GradScaler's factor keeps float16 from flushing small gradients to zero.

    Raises:
        RuntimeError: the logits carry no graph, or none of the layers takes part in it.
    """
    return _grams(logits, gradients / gradients.shape[1], layers, scale)


def half_covariances(
    logits: Float[Tensor, "n c"],
    gradients: Float[Tensor, "t n c"],
    layers: Layers,
    order: Int[Tensor, " n"],
    scale: int | float = 1.0,
) -> dict[str, Float[Tensor, "t t"]]:
    """Covariance of the terms' per-sample gradients in each layer, from two halves of the batch.

        D^t = 1/m (sum over the first half of g_i^t - sum over the second)
        C_st = m <D^s, D^t>

    m is n, or n - 1 where that is odd. Over random halves the mean of C_st is exactly the trace of
    the sample covariance, 1/(n - 1) sum_i <g_i^s - g^s, g_i^t - g^t>: the estimate is unbiased. A
    variance C_tt scatters by about sqrt(2 / r) of itself, r = (tr S)^2 / tr S^2 being the number of
    directions that share the covariance S. Costs what ``layer_grams`` costs. Under batch
    normalisation g_i is the gradient of sample i's loss through the batch's statistics, so the
    samples are not quite independent.

    Args:
        logits: as for ``layer_grams``.
        gradients: likewise.
        layers: likewise.
        order: a random permutation of the samples; its first m / 2 are the first half.
        scale: as for ``layer_grams``.

    Raises:
        RuntimeError: as for ``layer_grams``.
    """
    half = len(order) // 2
    if half == 0:
        empty = gradients.new_full((len(gradients),) * 2, torch.nan, dtype=torch.float64)
        return {name: empty.clone() for name in layers}
    signs = gradients.new_zeros(len(order))
    signs[order[:half]], signs[order[half : 2 * half]] = 1.0, -1.0
    outputs = gradients * signs.unsqueeze(-1) / (2 * half)
    return {name: 2 * half * c for name, c in _grams(logits, outputs, layers, scale).items()}


def _grams(
    logits: Float[Tensor, "n c"],
    outputs: Float[Tensor, "t n c"],
    layers: Layers,
    scale: int | float,
) -> dict[str, Float[Tensor, "t t"]]:
    parameters = {id(p): p for layer in layers.values() for p in layer}
    if not logits.requires_grad:
        raise RuntimeError(
            "the student's logits carry no graph, so the layers have no gradient: run its forward "
            "pass with gradients enabled"
        )
    with torch.autocast(logits.device.type, enabled=False):
        found = [
            torch.autograd.grad(
                logits,
                list(parameters.values()),
                (scale * output).to(logits.dtype),
                retain_graph=True,
                allow_unused=True,
            )
            for output in outputs
        ]
    terms = dict(zip(parameters, zip(*found, strict=True), strict=True))
    if all(values[0] is None for values in terms.values()):
        raise RuntimeError(
            f"the student's logits do not depend on the layers {', '.join(layers)}: they belong to "
            f"another model, or their gradient is stopped on the way"
        )
    empty = outputs.new_zeros((len(outputs),) * 2, dtype=torch.float64)
    return {
        name: sum((_gram(terms[id(p)]) for p in layer if terms[id(p)][0] is not None), empty)
        / scale**2
        for name, layer in layers.items()
    }


def _gram(gradients: Sequence[Tensor]) -> Float[Tensor, "t t"]:
    rows = torch.stack([gradient.flatten().double() for gradient in gradients])
    return rows @ rows.T
