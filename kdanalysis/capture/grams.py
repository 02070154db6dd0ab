"""Gram matrices of the terms at the layers of a captured step, and their columns in the store."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True)
class LayerGrams:
    """What is kept of a captured step: the terms' Gram matrix of every layer.

    ``dot`` of the gradients of the batch mean, ``covariance`` of those of single samples, both
    weighted as the loss weighs the terms, ramp included; ``count`` samples.
    """

    layers: tuple[str, ...]
    terms: tuple[str, ...]
    dot: Float64[Tensor, "l t t"]
    covariance: Float64[Tensor, "l t t"] | None
    count: int

    def columns(self, step: int, epoch: int) -> dict[str, Any]:
        """Return the columns of the store, one row a layer and ordered pair of terms."""
        pairs = [(name, a, b) for name in self.layers for a in self.terms for b in self.terms]
        names = zip(("layer", "term_a", "term_b"), zip(*pairs, strict=True), strict=True)
        columns = {
            "step": np.full(len(pairs), step, dtype=np.int64),
            "epoch": np.full(len(pairs), epoch, dtype=np.int32),
            **dict(names),
            "dot": self.dot.flatten().cpu().numpy(),
        }
        if self.covariance is not None:
            columns["covariance"] = self.covariance.flatten().cpu().numpy()
            columns["count"] = np.full(len(pairs), self.count, dtype=np.int64)
        return columns
