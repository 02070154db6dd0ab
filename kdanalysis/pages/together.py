"""The figures of several runs in one: what each noun shows of them, side by side."""

import pandas as pd

from kdanalysis.analyzers.students.agreement_figure import QUANTITIES
from kdanalysis.analyzers.terms.share_figure import share_of_terms
from kdanalysis.draw.look import Axes, Figure, require
from kdanalysis.draw.runs import lines_by_run

MOST_PAIRS = 9


def agreement_by_run(table: pd.DataFrame) -> Figure:
    """Agreement and accuracies of every run, in percent; of ``Agreement`` with a column run."""
    require(table, "run", "step", "n", *QUANTITIES)
    known = [name for name in QUANTITIES if table[name].notna().any()]
    parts = [table.assign(share=100 * table[name], quantity=QUANTITIES[name][0]) for name in known]
    return lines_by_run(
        pd.concat(parts), "share", "quantity", "share of samples (%)", limits=(0, None)
    )


def magnitude_by_run(table: pd.DataFrame) -> Figure:
    """Mean gradient norm of every term of every run; of ``TermMagnitude`` with a column run.

    A term that two losses share with equal norms is drawn once.
    """
    require(table, "run", "loss", "term", "step", "mean", "n", number="mean")
    label = table.term.where(table.term == table.loss, table.loss + ": " + table.term)
    repeated = table.duplicated(["run", "step", "term", "mean"])
    rows = table.assign(label=label)[~repeated.groupby(label).transform("all")]
    return lines_by_run(rows, "mean", "label", "mean gradient norm", log=True)


def conflict_by_run(table: pd.DataFrame) -> Figure:
    """Mean cosine of ce with every other term; of ``GradientConflict`` with a column run.

    Where there is no ce: of the nine pairs with the lowest mean cosine.
    """
    require(table, "run", "step", "teacher", "term_a", "term_b", "cosine", "n", number="cosine")
    rows = table[table.teacher == "all"]
    rows = rows.assign(pair=rows.term_a + " / " + rows.term_b)
    with_ce = (rows.term_a == "ce") | (rows.term_b == "ce")
    if with_ce.any():
        rows = rows[with_ce]
    else:
        lowest = rows.groupby("pair").cosine.mean().nsmallest(MOST_PAIRS).index
        rows = rows[rows.pair.isin(lowest)]
    return lines_by_run(rows, "cosine", "pair", "mean cosine", limits=(-1.03, 1.03))


def direction_by_run(table: pd.DataFrame) -> Figure:
    """Cosine to the first loss, by sample; of ``LossDirection`` with a column run."""
    rows = _against_first(table)
    label = f"mean cosine to {table.loss_a.iloc[0]}"
    return lines_by_run(rows, "cosine", "loss_b", label, limits=(-1.03, 1.03))


def multiplier_by_run(table: pd.DataFrame) -> Figure:
    """Norm over that of the first loss; of ``LossDirection`` with a column run."""
    label = f"norm over that of {table.loss_a.iloc[0]}"
    return lines_by_run(_against_first(table), "multiplier", "loss_b", label, log=True)


def relation_by_run(table: pd.DataFrame) -> Figure:
    """Mean of Kendall's tau-b outside every notion's classes; of ``NonTopRelation`` with a run."""
    require(table, "run", "step", "notion", "measure", "mean", "n")
    rows = table[table.measure == "kendall"]
    rows = rows.assign(left="all but the " + rows.notion)
    return lines_by_run(rows, "mean", "left", "mean of Kendall's tau-b")


def share_by_run(table: pd.DataFrame) -> Axes:
    """Stacked bars of every loss, run below run; of ``TermShare`` with a column run."""
    require(table, "run", "loss", "term", "share", number="share")
    order = {loss: place for place, loss in enumerate(dict.fromkeys(table.loss))}
    rows = table.assign(place=table.loss.map(order)).sort_values("place", kind="stable")
    return share_of_terms(rows.assign(loss=rows.loss + ", " + rows.run))


def _against_first(table: pd.DataFrame) -> pd.DataFrame:
    require(table, "run", "step", "teacher", "loss_a", "loss_b", "cosine", "n", number="cosine")
    return table[(table.teacher == "all") & (table.loss_a == table.loss_a.iloc[0])]
