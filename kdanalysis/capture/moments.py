"""Means and covariances of the terms' gradients over the samples of a batch, layer by layer.

Index legend: t, s terms; n samples; c classes; p parameters of several layers side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float, Float64, Int
from torch import Tensor

from kdanalysis.core.gram import (
    gram,
    grams_by_layer,
    linear_covariance,
    linear_mean,
    sample_grams,
)
from kdanalysis.core.parameters import half_covariances, mean_gradients

LOGITS = "logits"
HeadInput = tuple[Float[Tensor, "n d"], Mapping[str, bool]]  # and which of its parameters learn


@dataclass(frozen=True)
class Moments:
    """Of the samples of one rank, or of all ranks.

    ``dots`` are the Gram matrices of the mean gradients, of "logits" that of the gradients in the
    logits of the batch, 1/n^2 sum_i <d_i^s, d_i^t>; ``covariances`` those of single samples'.
    The mean gradients themselves are ``rows`` in the layers of ``widths``, numbers of parameters,
    with room for what ``unite`` puts behind them, and ``heads`` in linear heads.
    """

    count: int
    dots: Mapping[str, Float64[Tensor, "t t"]]
    covariances: Mapping[str, Float64[Tensor, "t t"]]
    rows: Float[Tensor, "t p"] | None = None
    widths: Mapping[str, int] = field(default_factory=dict)
    heads: Mapping[str, Float64[Tensor, "t _"]] = field(default_factory=dict)


def take_moments(
    logits: Float[Tensor, "n _"],
    closed: Float64[Tensor, "t n c"],
    heads: Mapping[str, HeadInput],
    layers: Mapping[str, Sequence[Tensor]],
    order: Int[Tensor, " n"] | None,
    scale: int | float = 1.0,
) -> Moments:
    """Return the moments of a batch.

    Args:
        logits: the student's, part of the graph.
        closed: gradients of the terms in them, per sample.
        heads: inputs of linear layers that give the logits: their moments are closed forms.
        layers: parameters of the other layers: one backward pass a term, see ``layer_grams``.
        order: of the samples, for the halves of ``half_covariances``; None for no covariances.
        scale: as for ``layer_grams``.

    Raises:
        RuntimeError: as for ``layer_grams``.
    """
    count, terms = closed.shape[1], len(closed)
    means = {name: linear_mean(x, closed, **which) for name, (x, which) in heads.items()}
    dots = {LOGITS: sample_grams(closed).sum(0) / max(count, 1) ** 2}
    dots |= {name: gram(mean) for name, mean in means.items()}
    covariances = {}
    if order is not None:
        covariances = {n: linear_covariance(x, closed, **which) for n, (x, which) in heads.items()}
        if layers:
            covariances |= half_covariances(logits, closed, layers, order, scale)
    room = sum(g.shape[1] for g in means.values()) + terms * (len(covariances) + 1) + 1
    rows = closed.new_zeros(terms, room)
    widths = {name: sum(p.numel() for p in layer) for name, layer in layers.items()}
    if layers:
        rows = mean_gradients(logits, closed, layers, scale, room)
        dots |= grams_by_layer(rows[:, :-room], widths)
    return Moments(count, dots, covariances, rows, widths, means)
