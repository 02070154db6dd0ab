"""Gradients at layers (figure 1): how strong every term's is there, and where terms fight."""

from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.by_layer import ONLY_TERM, LayerAnalyzer, largest_by_layer
from kdanalysis.analyzers.by_step import over_samples
from kdanalysis.analyzers.by_term import gram_cosines
from kdanalysis.analyzers.evidence import Interval, jackknife
from kdanalysis.analyzers.noun import Reading
from kdanalysis.draw.axes import time_axis
from kdanalysis.draw.look import Figure
from kdanalysis.draw.panels import (
    LOGITS,
    draw_term,
    layer_panels,
    records_left_out,
    terms_legend,
)
from kdanalysis.draw.tables import require


class LayerGradients(LayerAnalyzer):
    """Norms and cosines of the terms' gradients in a layer's parameters, by captured step.

    The gradients are those of the batch mean, weighted as the loss weighs the terms, T^2 and ramp
    included: what one ``backward()`` a term would leave in ``grad``. Their dot products add up over
    layers. In the layer "logits" they are the gradients in the logits of the batch, so norms there
    fall with the root of its size. A conflict is a negative cosine; a pair in which either gradient
    is zero has none.
    """

    noun, title = "layers", "Gradient norms at the layers"
    needs = ("gram", "layer", "step")

    def of_layers(self) -> dict[str, tuple[int, ...]]:
        """One number a pair of terms, and the norm of each."""
        count = len(self.terms)
        pairs = dict.fromkeys(("dot", "cosine", "conflicts", "directed"), (count, count))
        return pairs | {"norm": (count,)}

    def add(self, gram: Float[Tensor, "m t t"], row: Int[Tensor, " m"]) -> None:
        """Add dot products to the rows of their step and layer."""
        norm, cosine, directed = gram_cosines(gram.double())
        pairs = {"cosine": cosine, "conflicts": cosine < 0, "directed": directed}
        self.add_rows(row, norm=norm, dot=gram.double(), **pairs)

    def measures(self) -> dict[str, Tensor]:
        """Means of dot, norms and cosine, and conflict, by (step, layer, pair a <= b)."""
        a, b = torch.triu_indices(len(self.terms), len(self.terms), device=self.dot.device)
        count = self.n.unsqueeze(-1)
        norm, directed = self.norm / count, self.directed[..., a, b]
        return {
            "dot": self.dot[..., a, b] / count,
            "norm_a": norm[..., a],
            "norm_b": norm[..., b],
            "cosine": self.cosine[..., a, b] / directed,
            "conflict": self.conflicts[..., a, b] / directed,
        }

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, layer, term_a, term_b, dot, norm_a, norm_b, cosine, conflict, n, ...

        One row per unordered pair of terms, that of a term with itself included. norm_a and norm_b
        are the norms of the two; conflict is the share of records with a negative cosine, n their
        number, non_finite that of the records left out.
        """
        names = list(combinations_with_replacement(self.terms, 2))
        return self.layer_frame(names, ["term_a", "term_b"])


@LayerGradients.reads()
def layers_reading(table: pd.DataFrame) -> Reading:
    """Which term pulls hardest at which layer; the longest term at every drawn layer.

    A term pulls hardest at a layer where its mean norm over the next term's has a 95 % interval
    above 1, by the jackknife over captured steps.
    """
    means = mean_norms(table)
    number = f"longest term at {largest_by_layer(means)}"
    if means.shape[1] < 2:
        return Reading(ONLY_TERM.format(means.columns[0]), number)
    inner = means.drop(index=LOGITS) if LOGITS in means.index and len(means) > 1 else means
    found: dict[tuple[str, str], list[tuple[str, Interval]]] = {}
    for layer, norms in inner.iterrows():
        first, next_one = norms.nlargest(2).index
        lead = _lead(table[table.layer == layer], first, next_one)
        found.setdefault((first, lead.verdict), []).append((str(layer), lead))
    parts = [_told(*key, leads, len(inner)) for key, leads in found.items()]
    return Reading(f"The term that pulls hardest: {'; '.join(parts)}.", number)


def _lead(rows: pd.DataFrame, first: str, second: str) -> Interval:
    """Logarithm of the ratio of two terms' mean norms at a layer, with steps left out in turn."""
    rows = own_terms(rows)
    steps = rows.step.unique()
    parts = [rows[rows.step != step] for step in steps] if len(steps) > 2 else []
    norms = [over_samples(part, ["term_a"], ["norm_a"]).norm_a for part in (rows, *parts)]
    with np.errstate(divide="ignore", invalid="ignore"):
        whole, *left = (np.log(each[first] / each[second]) for each in norms)
    return jackknife(whole, left)


def _told(term: str, verdict: str, leads: list[tuple[str, Interval]], layers: int) -> str:
    where = ", ".join(layer for layer, _ in leads)
    where = "every layer" if len(leads) == layers > 1 else where
    narrowest = min((lead for _, lead in leads), key=lambda lead: lead.value)
    ratio = f"{narrowest.ratio()} times the next term{' at least' if len(leads) > 1 else ''}"
    return f"{term} at {where} ({verdict}: {ratio})"


def own_terms(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of every term with itself, which hold its norm, in the order of steps."""
    require(table, "step", "layer", "term_a", "term_b", "norm_a", "n", number="norm_a")
    return table[table.term_a == table.term_b].sort_values("step", kind="stable")


def mean_norms(table: pd.DataFrame) -> pd.DataFrame:
    """Mean norm over all records, layers as rows, terms as columns, in the order recorded."""
    rows = own_terms(table)
    means = over_samples(rows, ["layer", "term_a"], ["norm_a"]).norm_a.unstack()
    return means.loc[list(dict.fromkeys(rows.layer)), list(dict.fromkeys(rows.term_a))]


@LayerGradients.shortens
def layer_norms(table: pd.DataFrame) -> pd.DataFrame:
    """One row a layer, one column a term: its mean norm."""
    return mean_norms(table).reset_index()


@LayerGradients.picture("Norm of every term's gradient at the layers", panels=True)
def layers_over_training(table: pd.DataFrame) -> Figure:
    """Norm of every term's gradient against the training step, one panel a layer, one scale.

    Norms of 0 have no place on the logarithmic axis and leave a gap.
    """
    rows = own_terms(table)
    figure, panels = layer_panels(rows)
    for layer, ax in panels.items():
        for term, line in rows[rows.layer == layer].groupby("term_a", sort=False):
            draw_term(ax, line.step, line.norm_a.where(line.norm_a > 0), term)
        ax.set_yscale("log")
    time_axis(next(iter(panels.values())), rows.step, 3)
    figure.supxlabel("training step" + records_left_out(table), fontsize="medium")
    figure.supylabel("gradient norm of\nthe batch mean, weighted", fontsize="medium")
    terms_legend(figure)
    return figure
