"""How strong the gradient of every loss term is at a layer, and where terms fight there."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.by_layer import LayerAnalyzer


class LayerGradients(LayerAnalyzer):
    """Norms and cosines of the terms' gradients in a layer's parameters, by captured step.

    The gradients are those of the batch mean, weighted as the loss weighs the terms, T^2 and ramp
    included: what one ``backward()`` a term would leave in ``grad``. Their dot products add up over
    layers. In the layer "logits" they are the gradients in the logits of the batch, so norms there
    fall with the root of its size. A conflict is a negative cosine; a pair in which either gradient
    is zero has none.
    """

    kind = "layers"
    needs = ("gram", "layer", "step")
    takes = ("epoch",)

    def __init__(self, layers: Sequence[str], terms: Sequence[str], steps: Sequence[int]) -> None:
        super().__init__(layers, terms, steps)
        shape = (len(self.steps), len(self.layers), len(self.terms), len(self.terms))
        for state in ("dot", "cosine", "conflicts", "directed"):
            self.add_sum(state, *shape)
        self.add_sum("norm", *shape[:3])

    def update(
        self,
        gram: Float[Tensor, "m t t"],
        layer: Int[Tensor, " m"],
        step: Int[Tensor, " m"],
        epoch: Int[Tensor, " m"] | None = None,
    ) -> None:
        """Add records: dot products, the place of their layer, step and epoch."""
        finite = gram.isfinite().all(-1).all(-1)
        row, gram = self.rows(finite, layer, step, epoch), gram[finite].double()
        norm = gram.diagonal(dim1=1, dim2=2).sqrt()
        lengths = norm.unsqueeze(1) * norm.unsqueeze(2)
        directed = lengths > 0
        cosine = (gram / lengths.where(directed, 1.0)).where(directed, 0.0)
        self.add_rows("norm", row, norm)
        self.add_rows("dot", row, gram)
        self.add_rows("cosine", row, cosine)
        self.add_rows("conflicts", row, cosine < 0)
        self.add_rows("directed", row, directed)

    def compute(self) -> dict[str, Tensor]:
        """Means of dot, norms and cosine, and conflict, by (step, layer, pair a <= b); facts."""
        a, b = torch.triu_indices(len(self.terms), len(self.terms), device=self.dot.device)
        count = self.n.unsqueeze(-1)
        norm, directed = self.norm / count, self.directed[..., a, b]
        return {
            "dot": self.dot[..., a, b] / count,
            "norm_a": norm[..., a],
            "norm_b": norm[..., b],
            "cosine": self.cosine[..., a, b] / directed,
            "conflict": self.conflicts[..., a, b] / directed,
            **self.facts(),
        }

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, layer, term_a, term_b, dot, norm_a, norm_b, cosine, conflict, n, ...

        One row per unordered pair of terms, that of a term with itself included. norm_a and norm_b
        are the norms of the two; conflict is the share of records with a negative cosine, n their
        number, non_finite that of the records left out.
        """
        pairs = torch.triu_indices(len(self.terms), len(self.terms)).T.tolist()
        names = [(self.terms[a], self.terms[b]) for a, b in pairs]
        return self.frame(self.compute(), names, ["term_a", "term_b"])
