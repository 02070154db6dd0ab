"""Which loss terms carry signal: the signal-to-noise ratio of their gradients at a layer."""

from collections.abc import Sequence

import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.by_layer import LayerAnalyzer


class SignalToNoise(LayerAnalyzer):
    """Squared mean over variance of the per-sample gradient of every term, at every layer.

        snr = ||E g||^2 / tr Cov g        g the gradient of the term for one sample, at the layer

    The ratio of arXiv 2001.07384, which DeepKD (arXiv 2505.15133) compares between task, target and
    non-target gradients, there for single parameters: mean^2 / variance. Here squared mean and
    variance are summed over a layer's parameters first, so a parameter counts by its variance. The
    gradient of a batch of n has n times this ratio: at 1/n its signal and its noise are as long.

    Estimated from a batch of n by its mean gradient G and the trace C of the covariance over its
    samples (for a linear head from every sample, elsewhere from two halves of the batch):

        signal = ||G||^2 - C / n        noise = C

    Both are unbiased for samples drawn independently, so both may be averaged over steps and ranks
    before the ratio is taken, as the columns are; signal may come out below zero where there is
    next to none, and is left so. The ratio of the averages is biased by a relative amount of the
    order of 1 / (records x directions that share the variance). Batch normalisation couples the
    samples of a batch, which biases both a little.
    """

    kind = "layers"
    needs = ("gram", "covariance", "count", "layer", "step")
    takes = ("epoch",)

    def __init__(self, layers: Sequence[str], terms: Sequence[str], steps: Sequence[int]) -> None:
        super().__init__(layers, terms, steps)
        for state in ("signal", "noise"):
            self.add_sum(state, len(self.steps), len(self.layers), len(self.terms))
        self.add_sum("samples", len(self.steps), len(self.layers))

    def update(
        self,
        gram: Float[Tensor, "m t t"],
        covariance: Float[Tensor, "m t t"],
        count: Int[Tensor, " m"],
        layer: Int[Tensor, " m"],
        step: Int[Tensor, " m"],
        epoch: Int[Tensor, " m"] | None = None,
    ) -> None:
        """Add records: dot products, covariances, samples, the place of the layer, step, epoch."""
        square, noise = (x.diagonal(dim1=1, dim2=2).double() for x in (gram, covariance))
        finite = (square.isfinite() & noise.isfinite()).all(-1)
        row = self.rows(finite, layer, step, epoch)
        square, noise, count = square[finite], noise[finite], count[finite].double()
        self.add_rows("signal", row, square - noise / count.unsqueeze(-1))
        self.add_rows("noise", row, noise)
        self.add_rows("samples", row, count)

    def compute(self) -> dict[str, Tensor]:
        """Mean signal and noise, and their ratio, by (step, layer, term); batch; facts."""
        count = self.n.unsqueeze(-1)
        batch = (self.samples / self.n).unsqueeze(-1).expand_as(self.signal)
        return {
            "signal": self.signal / count,
            "noise": self.noise / count,
            "snr": self.signal / self.noise,
            "batch": batch.clone(),
            **self.facts(),
        }

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, layer, term, signal, noise, snr, batch, n, non_finite.

        batch is the mean number of samples of a record, n the number of records, non_finite that
        of the records left out. Layers without any covariance, such as "logits", are left out.
        """
        frame = self.frame(self.compute(), [(term,) for term in self.terms], ["term"])
        known = frame.groupby("layer").n.transform("max") > 0
        return frame[known].reset_index(drop=True)
