"""Figures of the terms' gradient norms at layers (figure 1): who pulls hardest, and where."""

import pandas as pd

from kdanalysis.draw.look import Figure, require, styled
from kdanalysis.draw.panels import (
    LOGITS,
    draw_term,
    drawn_layers,
    layer_panels,
    records_left_out,
    terms_legend,
)


@styled
def layers_over_training(table: pd.DataFrame) -> Figure:
    """Norm of every term's gradient against the training step, one panel a layer, one scale.

    Norms of 0 have no place on the logarithmic axis and leave a gap.

    Args:
        table: columns step, layer, term_a, term_b, norm_a, n, non_finite (``LayerGradients``).
    """
    rows = own_terms(table)
    figure, panels = layer_panels(rows)
    for layer, ax in panels.items():
        for term, line in rows[rows.layer == layer].groupby("term_a", sort=False):
            draw_term(ax, line.step, line.norm_a.where(line.norm_a > 0), term)
        ax.set_yscale("log")
    figure.supxlabel("training step" + records_left_out(table), fontsize=10)
    figure.supylabel("gradient norm of the batch mean", fontsize=10)
    terms_legend(figure)
    return figure


def own_terms(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of every term with itself, which hold its norm, in the order of steps."""
    require(table, "step", "layer", "term_a", "term_b", "norm_a", "n", number="norm_a")
    return table[table.term_a == table.term_b].sort_values("step", kind="stable")


def layers_number(table: pd.DataFrame) -> str:
    """The longest term at every drawn layer, with its mean norm."""
    means = mean_norms(table)
    return "longest term at " + "; ".join(
        f"{layer}: {means.loc[layer].idxmax()} {means.loc[layer].max():.2g}"
        for layer in drawn_layers(own_terms(table))
    )


def layers_sentence(table: pd.DataFrame) -> str:
    """What to read: which term pulls hardest at which layer."""
    means = mean_norms(table)
    if means.shape[1] < 2:
        return f"{means.columns[0]} is the loss's only term: there is nothing to compare it with."
    inner = means.drop(index=LOGITS) if LOGITS in means.index and len(means) > 1 else means
    longest = inner.idxmax(axis=1)
    if longest.nunique() > 1:
        parts = "; ".join(
            f"{term} at {', '.join(where.index)}"
            for term, where in longest.groupby(longest, sort=False)
        )
        return f"Which term pulls hardest depends on the layer: {parts}."
    term = longest.iloc[0]
    ratio = inner[term] / inner.drop(columns=term).max(axis=1)
    claim = f"{term} pulls hardest at every layer, {ratio.min():.2g}"
    claim += f" to {ratio.max():.2g}" if f"{ratio.min():.2g}" != f"{ratio.max():.2g}" else ""
    return f"{claim} times the next term."


def mean_norms(table: pd.DataFrame) -> pd.DataFrame:
    """Mean norm over all records, layers as rows, terms as columns, in the order recorded."""
    rows = own_terms(table)
    sums = rows.assign(total=rows.norm_a * rows.n).groupby(["layer", "term_a"], sort=False)
    means = (sums.total.sum() / sums.n.sum()).unstack()
    return means.loc[list(dict.fromkeys(rows.layer)), list(dict.fromkeys(rows.term_a))]
