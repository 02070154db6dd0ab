"""t-SNE: rows of many numbers laid out on a plane, neighbours beside neighbours.

The exact algorithm of van der Maaten and Hinton (JMLR 9, 2008) with the settings that libraries
have agreed on: it begins with the first two principal components, exaggerates the attraction 12
times for 250 steps, and ends after 1000. For the few hundred rows of a picture that takes less
than importing a library for it would, and needs no more than the rest of this room.
"""

from math import log
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.softened import reordered

STEPS, EARLY, EXAGGERATION = 1000, 250, 12.0
MOMENTA = (0.5, 0.8)  # early, and after
FASTER, SLOWER, LEAST = 0.2, 0.8, 0.01  # of the gain of a coordinate
RATE = 50.0  # of the descent, at least
HALVINGS = 40  # of the search for a width
START, JITTER = 1e-4, 1e-2  # spread of the first layout, and of the noise in it beside that


def tsne(
    rows: Float[Tensor, "n d"], perplexity: float | int, seed: int = 0
) -> Float[Tensor, "n 2"]:
    """Return places on a plane in float64, the same for the same rows, perplexity and seed.

    Distances are Euclidean. Places minimise KL(P || Q), where p_ij are the joint affinities of the
    rows and q_ij is proportional to 1 / (1 + |y_i - y_j|^2); a minimum is one of many.

    Args:
        rows: at least 4, of two numbers or more.
        perplexity: the effective number of neighbours of every row, above 1 and below n - 1.
        seed: of the noise of the first layout.
    """
    rows = rows.double().cpu()
    affinity = affinities(rows, perplexity).numpy()
    places = _first(rows, seed).numpy()
    rate = max(len(rows) / EXAGGERATION / 4, RATE)
    _descend(affinity, places, rate)
    return torch.from_numpy(places)


def affinities(rows: Float[Tensor, "n d"], perplexity: float | int) -> Float[Tensor, "n n"]:
    """Return the joint affinities p_ij, which add up to 1.

    p_j|i is the softmax over j != i of -|x_i - x_j|^2 times the row's precision, whose entropy is
    the logarithm of the perplexity; p_ij = (p_j|i + p_i|j) / 2n.
    """
    far = torch.cdist(rows, rows).square()
    itself = torch.eye(len(rows), dtype=torch.bool)
    far -= far.masked_fill(itself, torch.inf).amin(1, keepdim=True)  # softmax does not see it
    low, precision = far.new_zeros(len(rows), 1), far.new_ones(len(rows), 1)
    high = torch.full_like(precision, torch.inf)
    for _ in range(HALVINGS):
        log_p = (-precision * far).masked_fill(itself, -torch.inf).log_softmax(1)
        p = log_p.exp()
        flat = -(p * log_p.masked_fill(itself, 0)).sum(1, keepdim=True) > log(perplexity)
        low, high = torch.where(flat, precision, low), torch.where(flat, high, precision)
        precision = torch.where(high.isinf(), 2 * precision, (low + high) / 2)
    return (p + p.T) / (2 * len(rows))


def principal(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n 2"]:
    """Return the first two principal components, the sign being that of the largest loading."""
    centred = rows - rows.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    largest = axes.abs().argmax(1, keepdim=True)
    return centred @ (axes * axes.gather(1, largest).sign()).T


def _first(rows: Float[Tensor, "n d"], seed: int) -> Float[Tensor, "n 2"]:
    """The principal components, made small, with a little noise that tells equal rows apart."""
    found = principal(rows)
    noise = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed)).double()
    return START * (found / found[:, 0].std().clamp(min=1e-300) + JITTER * noise)


@no_type_check
@reordered
def _descend(affinity, places, rate):
    """Move the places down the gradient, with momentum and a gain for every coordinate."""
    n = len(places)
    attraction, repulsion = np.empty((n, 2)), np.empty((n, 2))
    speed, gain = np.zeros((n, 2)), np.ones((n, 2))
    for step in range(STEPS):
        early = step < EARLY
        total = _forces(affinity, places, attraction, repulsion)
        momentum = MOMENTA[0] if early else MOMENTA[1]
        factor = EXAGGERATION if early else 1.0
        for i in range(n):
            for axis in range(2):
                slope = 4 * (factor * attraction[i, axis] - repulsion[i, axis] / total)
                turned = slope * speed[i, axis] < 0
                better = gain[i, axis] + FASTER if turned else gain[i, axis] * SLOWER
                gain[i, axis] = max(better, LEAST)
                speed[i, axis] = momentum * speed[i, axis] - rate * gain[i, axis] * slope
        for i in range(n):
            places[i, 0] += speed[i, 0]
            places[i, 1] += speed[i, 1]


@no_type_check
@reordered
def _forces(affinity, places, attraction, repulsion):
    """Sum both forces on every place, and return the sum of 1 / (1 + distance^2) over pairs."""
    attraction[:], repulsion[:] = 0.0, 0.0
    total = 0.0
    for i in range(len(places)):
        for j in range(i):
            x, y = places[i, 0] - places[j, 0], places[i, 1] - places[j, 1]
            near = 1 / (1 + x * x + y * y)
            total += 2 * near
            pull, push = affinity[i, j] * near, near * near
            attraction[i, 0] += pull * x
            attraction[i, 1] += pull * y
            attraction[j, 0] -= pull * x
            attraction[j, 1] -= pull * y
            repulsion[i, 0] += push * x
            repulsion[i, 1] += push * y
            repulsion[j, 0] -= push * x
            repulsion[j, 1] -= push * y
    return total
