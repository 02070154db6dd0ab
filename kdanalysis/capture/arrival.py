"""What became of a loss's terms on the way to the student's logits: how much of each arrived."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.gram import HasGradients

SMALLEST = 1e-6  # of the largest eigenvalue of normalised terms: below it two are one


@dataclass(frozen=True)
class Arrival:
    """The terms of one captured batch.

    ``ramp`` is the warm-up factor that the loss put on a term; ``arrived`` how many times the
    term's closed form, weight and ramp included, is in the gradient that autograd sent: 1 as
    declared, NaN where none was sent or the term has no gradient. ``rest`` is the length of what
    no term explains, relative to that of what was sent; ``count`` the samples that were fitted.
    """

    ramp: dict[str, float]
    arrived: dict[str, float]
    rest: float = nan
    count: int = 0

    def columns(self) -> dict[str, Any]:
        """Return the columns of the store, one row a term."""
        terms = list(self.ramp)
        return {
            "term": terms,
            "ramp": np.array([self.ramp[term] for term in terms]),
            "arrived": np.array([self.arrived.get(term, nan) for term in terms]),
            "rest": np.full(len(terms), self.rest),
            "count": np.full(len(terms), self.count, dtype=np.int64),
        }


def fitted(
    closed: Mapping[str, Float[Tensor, "v e"]],
    sent: Float[Tensor, "v e"],
    ramp: dict[str, float],
) -> Arrival:
    """Fit what was sent by least squares on the closed forms of the terms, over all samples.

        min_a || sent - sum_t a_t g^t ||,   a next to 1 where several a fit as well

    Terms whose gradients are parallel share their part: only their sum is known.

    Args:
        closed: g, by term; an entry of the gradient a column.
        sent: what autograd sent for the same samples, as the gradient of their sum.
        ramp: of the terms.
    """
    finite = sent.isfinite()
    if not finite.all():
        known = finite.all(-1)
        closed, sent = {term: g[known] for term, g in closed.items()}, sent[known]
    rows = torch.stack([g.flatten() for g in closed.values()]).double()
    total = sent.flatten().double()
    length = float(total.norm())
    lacking = (rows @ (total - rows.sum(0))).cpu().numpy()
    products = (rows @ rows.T).cpu().numpy()
    norms = np.sqrt(products.diagonal())
    there = norms > 0
    if not (length > 0 and there.any()):
        return Arrival(ramp, {})
    norms = norms[there]
    values, vectors = np.linalg.eigh(products[np.ix_(there, there)] / np.outer(norms, norms))
    apart = values > SMALLEST * values[-1]
    values, vectors = values[apart], vectors[:, apart]
    factors = np.full(len(rows), nan)
    factors[there] = 1 + vectors @ (vectors.T @ (lacking[there] / norms) / values) / norms
    told = torch.from_numpy(np.where(there, factors, 0)).to(rows.device)
    rest = float((total - told @ rows).norm()) / length
    return Arrival(ramp, dict(zip(closed, factors.tolist(), strict=True)), rest, len(sent))


def term_ramps(
    loss: HasGradients, closed: Mapping[str, Tensor], ramp: int | float, *sides: Tensor
) -> dict[str, float]:
    """Return what a warm-up factor does to every term: cross-entropy, as a rule, has none.

    Args:
        loss: whose terms.
        closed: their gradients with the factor.
        ramp: the factor.
        *sides: student, teacher and target.
    """
    if ramp == 1 or not closed:
        return dict.fromkeys(loss.terms, float(ramp))
    found = {}
    for term, bare in loss.gradients(*sides).items():
        square = float(bare.double().square().sum())
        product = float((closed[term].double() * bare.double()).sum())
        found[term] = product / square if square > 0 else float(ramp)
    return found
