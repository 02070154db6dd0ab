"""Gradient magnitude (figure 1): how long the gradient of every loss term is, over training."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from kdanalysis.analyzers.base import Labels, Logits
from kdanalysis.analyzers.by_step import ByStep, over_samples
from kdanalysis.analyzers.by_term import label_columns, labels_for, stacked_gradients, term_names
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.gram import HasGradients
from kdanalysis.core.streams import Bins
from kdanalysis.draw.look import (
    DASHES,
    FAINT,
    MARKERS,
    PAGE,
    Axes,
    Figure,
    new_axes,
    require,
    short,
    side_legend,
    state_left_out,
    styled,
    term_colour,
)
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.runs import lines_by_run
from kdanalysis.losses import non_top_terms

BINS = Bins(-12.0, 6.0, 18 * 64)  # log10 of a norm; quantiles are good to 3.7 percent
KEYS = ["loss", "term", "step", "epoch"]


class TermMagnitude(ByStep):
    """L2 norm of the per-sample gradient in the student logits, by term and captured step.

    The gradients are those of ``loss.gradients``: T^2 and the loss's own weights included, ramp
    1, not divided by the batch size. Give a loss unit weights to see its bare terms, and
    ``KDParts`` to see them as plain KD weighs them.

    The mean is exact. The quartiles come from 64 bins a decade between 1e-12 and 1e6: each is
    within 3.7 percent of the sample's own; a quartile below 1e-12 reads 0, above 1e6 inf.

    Args:
        losses: the losses by a name of your own.
        steps: every captured step; a single one for logits that come from no training.
    """

    noun, title = "magnitude", "Gradient norms of the terms over training"
    needs = ("student_logits", "teacher_logits")
    takes = ("target", "step", "epoch")

    def __init__(self, losses: Mapping[str, HasGradients], steps: Sequence[int] = (0,)) -> None:
        self.names = term_names(losses)
        super().__init__(steps, losses=dict(losses))
        self.needs = (*self.needs, *label_columns(losses))
        self.add_sum("norm", len(self.steps), len(self.names))
        self.add_sum("counts", len(self.steps), len(self.names), BINS.size)

    @classmethod
    def for_setting(cls, setting: Setting) -> "TermMagnitude":
        """Return the analyzer of the bare terms, and of plain KD's parts."""
        return cls(setting.bare | {"kd parts": setting.inside["kd"]}, setting.steps)

    def add(self, student: Logits, teacher: Logits, target: Labels | None, place: Labels) -> None:
        """Add the finite samples of a batch; a ValueError where a loss lacks its labels."""
        labels = labels_for(self.losses, target, student)
        norms = stacked_gradients(self.losses, student, teacher, labels).norm(dim=-1).T  # (n, t)
        self.add_rows(place, norm=norms)
        self.count_rows("counts", BINS, place, norms.log10())

    def compute(self) -> dict[str, Tensor]:
        """Mean and quartiles of the norm and n by (step, term); epoch by step; non_finite."""
        n = self.counts.sum(-1)
        quartiles = {name: 10**log for name, log in BINS.quartiles(self.counts).items()}
        facts = {"epoch": self.epoch, "non_finite": self.non_finite.clone()}
        return {"mean": self.norm / n, **quartiles, "n": n, **facts}

    def table(self) -> pd.DataFrame:
        """Columns loss, term, step, epoch, mean, q25, median, q75 (norms), n, non_finite."""
        frame = self.step_frame(self.names, ["loss", "term"])
        return frame[[*KEYS, *frame.columns.drop(KEYS)]]


@TermMagnitude.reads()
def magnitude_reading(table: pd.DataFrame) -> Reading:
    """Whether the non-top term, large by itself, is small as another loss weighs it.

    The losses that share the term are compared: the one in which it is longest with the one in
    which it is shortest. The number is its mean norm over all steps in every loss; no unit.
    """
    means = _means(table)
    non_top = means[means.index.get_level_values("term").isin(non_top_terms())]
    number = "; ".join(f"{loss}: {term} {value:.3g}" for (loss, term), value in non_top.items())
    for term in non_top_terms():
        part = non_top[non_top.index.get_level_values("term") == term].droplevel("term").dropna()
        if len(part) < 2 or part.max() == 0:
            continue
        loud, quiet = part.idxmax(), part.idxmin()
        ratio = part[loud] / part[quiet] if part[quiet] > 0 else np.inf
        claim = f"{term} is {ratio:.3g} times as long in {loud} as in {quiet}"
        told = f"These data do not show the non-top relations drowned in {quiet}"
        if ratio >= 2:
            told = f"The non-top relations are large by themselves and small in {quiet}"
        return Reading(f"{told}: {claim}.", number)
    return Reading(_alone(means, non_top), number)


def _alone(means: pd.Series, non_top: pd.Series) -> str:
    """The sentence where no two losses share a non-top term: it is held against its loss's own."""
    parts = []
    for (loss, term), value in non_top.items():
        others = means[loss].drop(term)
        if len(others):
            parts.append(
                f"{term} {value:.3g} against {others.idxmax()} {others.max():.3g} in {loss}"
            )
    if not parts:
        return "No loss here has a non-top term (low_other or nckd) beside others to compare."
    return (
        f"No two losses here share a non-top term, so these data cannot show it small inside KD; "
        f"its mean norm and the largest one beside it: {', '.join(parts)}."
    )


def _means(table: pd.DataFrame) -> pd.Series:
    """Mean norm over all samples of all steps, by (loss, term)."""
    require(table, "loss", "term", "mean", "n", number="mean")
    return over_samples(table, ["loss", "term"], ["mean"])["mean"]


@TermMagnitude.picture("Per-sample norm of every term's logit gradient")
def magnitude_over_training(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean gradient norm of each term against the training step, with the inter-quartile band.

    Colour is the term, dash and marker are the loss; the number in the legend is the mean norm at
    the last step. Epochs, where known, stand above the axes at their first captured step. Norms
    of 0 have no place on the logarithmic axis and leave a gap.
    """
    require(table, "loss", "term", "step", "mean", "q25", "q75", number="mean")
    ax = ax or new_axes(PAGE, 3.4)
    losses = list(dict.fromkeys(table.loss))
    alpha = 0.13 if table.groupby(["loss", "term"]).ngroups <= 6 else 0.06
    for (loss, term), rows in table.groupby(["loss", "term"], sort=False):
        place, colour = losses.index(loss), term_colour(term)
        rows, name = rows.sort_values("step"), term if term == loss else f"{loss}: {term}"
        look = {
            "linestyle": DASHES[place % len(DASHES)],
            "marker": MARKERS[place % len(MARKERS)] if len(rows) <= 40 else None,
            # Losses may agree in a term: rings of the first one stay visible around the others.
            "markersize": 8 if place == 0 else 4,
            "markerfacecolor": "none" if place == 0 else colour,
            "label": f"{name}  {rows['mean'].iloc[-1]:.2g}",
        }
        mean, low, high = (
            rows[column].where(rows[column] > 0).to_numpy() for column in ("mean", "q25", "q75")
        )
        banded_line(ax, rows.step, mean, low, high, colour, alpha, **look)
    ax.set_yscale("log")
    ax.set_xlabel("training step" + state_left_out(table))
    ax.set_ylabel("gradient norm per sample\n(mean; band: middle half)")
    _mark_epochs(ax, table)
    side_legend(ax, "last mean")
    return ax


def _mark_epochs(ax: Axes, table: pd.DataFrame) -> None:
    """Write the epochs above the axes, at most ten of them."""
    if "epoch" not in table or table.epoch.isna().any() or table.epoch.nunique() < 2:
        return
    first = table.groupby("epoch").step.min()
    first = first.iloc[:: -(-len(first) // 10)]
    top = ax.secondary_xaxis("top")
    top.set_xticks(first.to_numpy(), labels=[str(epoch) for epoch in first.index])
    top.set_xlabel("epoch (at its first captured step)")


@styled
def magnitude_of_terms(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean gradient norm of every term at a single step, with the line of the middle half.

    Terms are grouped by loss.
    """
    require(table, "loss", "term", "mean", "q25", "q75", number="mean")
    ax = ax or new_axes(PAGE, 0.9 + 0.22 * len(table) + 0.12 * table.loss.nunique())
    another = table.loss.ne(table.loss.shift())  # a gap stands before every other loss
    places = np.arange(len(table)) + 0.6 * another.cumsum().to_numpy()
    for row, place in zip(table.itertuples(), places, strict=True):
        colour = term_colour(row.term)
        if row.q75 > 0:
            ax.plot([row.q25 or np.nan, row.q75], [place] * 2, color=colour, linewidth=2.5)
        if row.mean > 0:
            ax.plot(row.mean, place, marker="o", markersize=6, color=colour, linestyle="none")
    texts = [
        row.term if row.term == row.loss else f"{short(row.loss, 20)}: {row.term}"
        for row in table.itertuples()
    ]
    ax.set_yticks(places, labels=texts, parse_math=False)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.grid(axis="x", color=FAINT, linewidth=0.5)
    ax.set_xlabel("gradient norm per sample (mean; line: middle half)" + state_left_out(table))
    return ax


def magnitude_by_run(table: pd.DataFrame) -> Figure:
    """Mean gradient norm of every term of every run; of ``TermMagnitude`` with a column run.

    A term that two losses share with equal norms is drawn once.
    """
    require(table, "run", "loss", "term", "step", "mean", "n", number="mean")
    label = table.term.where(table.term == table.loss, table.loss + ": " + table.term)
    repeated = table.duplicated(["run", "step", "term", "mean"])
    rows = table.assign(label=label)[~repeated.groupby(label).transform("all")]
    return lines_by_run(rows, "mean", "label", "mean gradient norm", log=True)
