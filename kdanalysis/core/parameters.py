"""Gradients of loss terms in a student's parameters, from one forward graph.

The gradient of term t in the parameters is the vector-Jacobian product of the student's logits with
the term's closed-form gradient in them: the terms themselves are never computed, and the graph is
walked once a term, down to the first chosen layer only. Parameters' own ``grad`` stays as it is.

Kept is the Gram matrix of the terms, layer by layer: norms are the roots of its diagonal, cosines
follow, and the matrix of several layers is the sum of theirs.

Walking the graph once for all terms (``is_grads_batched``) was measured on one CPU thread, batch
64, 4 terms, all parameters: 1.22 times as slow for resnet20, 1.25 for resnet8x4, 1.26 for a
transformer of 2 layers, 0.93 for a plain network of 3 linear layers. So it is not used.

Index legend: t, s terms; n samples; c classes; p parameters of all layers, one layer after another.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.graph import GradientEdge

from kdanalysis.core.garbage import keep_freed_memory
from kdanalysis.core.gram import listed_gram
from kdanalysis.core.sections import Arrived, arrivals

Layers = Mapping[str, Sequence[Tensor]]


def layer_grams(
    logits: Float[Tensor, "n c"],
    gradients: Float[Tensor, "t n c"],
    layers: Layers,
    scale: int | float = 1.0,
) -> dict[str, Float[Tensor, "t t"]]:
    """Inner products, in float64, of the terms' gradients in the parameters of each layer.

        g^t = J' d^t / n        G_st = <g^s, g^t>

    d^t are the gradients in the logits per sample, J is the Jacobian of the logits, so g^t is what
    ``mean().backward()`` of term t would leave in ``grad``.

    The time is that of one backward pass a term, less what the pass needs for the layers left out.
    The gradients of all terms are alive together for a section of the graph only (see
    ``sections``), so that the memory beside the graph is about one gradient of the largest layer a
    term. None is made of the weight of a linear layer or a convolution whose input A has few rows
    (a row is what the kernel sees at a place): of the gradients D in its output follows

        g^t = D_t' A        <g^s, g^t> = <D_s, (A A') D_t>

    The graph stays for the training's own backward pass.

    Args:
        logits: the student's, part of the graph.
        gradients: per sample, not divided by n, as ``term_gradients`` gives them; of no sample
            the gradients are 0.
        layers: the parameters of each layer by its name.
        scale: the gradients are multiplied by it on their way and divided by it after: a
            GradScaler's factor keeps float16 from flushing small gradients to zero.

    Raises:
        RuntimeError: the logits carry no graph, or none of the layers takes part in it.
    """
    keep_freed_memory()
    outputs = _outputs(logits, gradients, scale)
    owners = [name for name, layer in layers.items() for _ in layer]
    parameters = [p for layer in layers.values() for p in layer]
    empty = torch.zeros(len(outputs), len(outputs), dtype=torch.float64, device=logits.device)
    grams, reached = {name: empty.clone() for name in layers}, False
    with torch.autocast(logits.device.type, enabled=False):
        for found in arrivals(logits, outputs, parameters, _product):
            while found:
                one = found.pop()
                if any(g is not None for g in one.gradients):
                    grams[owners[one.index]] += _gram_of(one)
                    reached = True
                del one  # the next section needs the memory
    if not reached:
        raise _not_reached(layers)
    return {name: gram / scale**2 for name, gram in grams.items()}


def mean_gradients(
    logits: Float[Tensor, "n c"],
    gradients: Float[Tensor, "t n c"],
    layers: Layers,
    scale: int | float = 1.0,
    room: int = 0,
) -> Float[Tensor, "t p"]:
    """Gradient of the batch mean of every term in the parameters of the layers, flat.

    They are what ``layer_grams`` multiplies, whose other arguments and errors these are. All of
    them are alive together, for what adds them up over ranks before it multiplies them.

    Args:
        logits: as for ``layer_grams``.
        gradients: likewise.
        layers: likewise.
        scale: likewise.
        room: columns of zeros to leave after the last layer, for what goes with it to other ranks.
    """
    outputs = _outputs(logits, gradients, scale)
    parameters = [p for layer in layers.values() for p in layer]
    kept, reached = _walk(logits, outputs, parameters, room)
    if not reached:
        raise _not_reached(layers)
    return kept if scale == 1 else kept.div_(scale)


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
    signed = gradients * signs.unsqueeze(-1) * (len(order) / (2 * half))
    found = layer_grams(logits, signed, layers, scale)
    return {name: 2 * half * matrix for name, matrix in found.items()}


def _outputs(
    logits: Float[Tensor, "n c"], gradients: Float[Tensor, "t n c"], scale: int | float
) -> Float[Tensor, "t n c"]:
    if not logits.requires_grad:
        raise RuntimeError(
            "the student's logits carry no graph, so the layers have no gradient: run its forward "
            "pass with gradients enabled"
        )
    return (gradients * (scale / max(gradients.shape[1], 1))).to(logits.dtype)


def _not_reached(layers: Layers) -> RuntimeError:
    return RuntimeError(
        f"the student's logits do not depend on the layers {', '.join(layers)}: they belong to "
        f"another model, or their gradient is stopped on the way, or hidden by activation "
        f"checkpointing that is reentrant (use_reentrant=False shows it)"
    )


def _gram_of(one: Arrived) -> Float[Tensor, "t t"]:
    zero = next(torch.zeros_like(g) for g in one.gradients if g is not None)
    rows = [zero if g is None else g for g in one.gradients]
    return listed_gram(rows, None if one.given is None else one.given.products())


def _walk(
    logits: Float[Tensor, "n c"],
    outputs: Float[Tensor, "t n c"],
    parameters: list[Tensor],
    room: int,
) -> tuple[Float[Tensor, "t p"], bool]:
    """Return the gradients, and whether any of the parameters takes part in the graph.

    They are copied pass by pass: gradients left where autograd puts them keep the next pass from
    using the memory of the one before, and so does the last of them while it has a name.
    """
    sizes = [p.numel() for p in parameters]
    dtype = max((p.dtype for p in parameters), key=lambda dtype: dtype.itemsize)
    dtype = torch.promote_types(dtype, torch.float32)
    kept = torch.zeros(len(outputs), sum(sizes) + room, dtype=dtype, device=logits.device)
    reached = False
    with torch.autocast(logits.device.type, enabled=False):
        for row, output in zip(kept, outputs, strict=True):
            found = _product(logits, parameters, output)
            for place, gradient in zip(row.split([*sizes, room])[:-1], found, strict=True):
                if gradient is not None:
                    place.view(gradient.shape).copy_(gradient)
                    reached = True
            del found, gradient
    return kept, reached


def _product(
    start: Tensor | GradientEdge, inputs: Sequence[Tensor | GradientEdge], output: Tensor
) -> tuple[Tensor | None, ...]:
    try:
        return torch.autograd.grad(start, inputs, output, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if "donated buffer" not in str(error):
            raise
        raise RuntimeError(
            "the student's compiled backward pass gives its memory away, but the gradients at "
            "layers walk it several times: set torch._functorch.config.donated_buffer = False "
            "before its first forward pass"
        ) from error
