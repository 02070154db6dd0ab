"""Gradients of terms in parameters the plain way: one ``backward()`` a term (and sample)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Terms = Mapping[str, Tensor]


def backward_gradients(
    values: Callable[[], Terms], parameters: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return d mean / d parameters (t, p) and d sample / d parameters (t, n, p), flat, float64.

    ``values`` runs a forward pass and gives the terms per sample.
    """
    count = len(next(iter(values().values())))
    means = [flat(lambda t=t: values()[t].mean(), parameters) for t in values()]
    samples = [
        torch.stack([flat(lambda t=t, i=i: values()[t][i], parameters) for i in range(count)])
        for t in values()
    ]
    return torch.stack(means), torch.stack(samples)


def flat(value: Callable[[], Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """Run ``backward()`` and return what it leaves in ``grad``, which is empty again after."""
    for parameter in parameters:
        parameter.grad = None
    value().backward()
    found = torch.cat([parameter.grad.flatten().double() for parameter in parameters])
    for parameter in parameters:
        parameter.grad = None
    return found


def covariance(samples: Tensor) -> Tensor:
    """Trace of the covariance over samples (t, t), one pair of terms at a time."""
    terms, count, _ = samples.shape
    found = torch.zeros(terms, terms, dtype=torch.float64)
    for a in range(terms):
        for b in range(terms):
            x, y = samples[a] - samples[a].mean(0), samples[b] - samples[b].mean(0)
            found[a, b] = sum(float(x[i] @ y[i]) for i in range(count)) / (count - 1)
    return found
