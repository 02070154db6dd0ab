"""Gradient magnitude (figure 1): how long the gradient of every loss term is, over training."""

import numpy as np
import pandas as pd
from torch import Tensor

from kdanalysis.analyzers.base import Labels, Logits
from kdanalysis.analyzers.by_step import deviation, spread_over_samples
from kdanalysis.analyzers.by_term import known_terms, loss_panels, stacked_gradients
from kdanalysis.analyzers.ends import with_ends
from kdanalysis.analyzers.evidence import difference_of_means
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.targets import Targets
from kdanalysis.analyzers.warmup import TermsByStep, draw_as_trained
from kdanalysis.core.bins import Bins
from kdanalysis.core.wording import numeral, numerals
from kdanalysis.draw.axes import round_ticks, time_axis
from kdanalysis.draw.colours import DASHES, FAINT, term_colour
from kdanalysis.draw.look import COLUMN, NARROW, PAGE, Axes, Figure, new_axes, styled
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.names import short
from kdanalysis.draw.panels import panel_grid, terms_legend
from kdanalysis.draw.runs import lines_by_run
from kdanalysis.draw.tables import require, state_left_out
from kdanalysis.losses import non_top_terms

BINS = Bins(-12.0, 6.0, 18 * 64)  # log10 of a norm; quantiles are good to 3.7 percent
SPREAD = ("mean", "std", "n")


class TermMagnitude(TermsByStep):
    """L2 norm of the per-sample gradient in the student logits, by term and captured step.

    The gradients are those of ``loss.gradients``: T^2 and the loss's own weights included, ramp
    1, not divided by the batch size. Give a loss unit weights to see its bare terms, and
    ``KDParts`` to see them as plain KD weighs them.

    The mean is exact. The quartiles come from 64 bins a decade between 1e-12 and 1e6: each is
    within 3.7 percent of the sample's own; a quartile below 1e-12 reads 0, above 1e6 inf.
    """

    noun, title = "magnitude", "Gradient norms of the terms over training"
    of_terms = ("norm", ()), ("squares", ()), ("counts", (BINS.size,))
    with_units = True

    def add(self, student: Logits, teacher: Logits, targets: Targets, place: Labels) -> None:
        """Add the finite samples of a batch, with the places of their steps."""
        norms = stacked_gradients(self.losses, student, teacher, targets).norm(dim=-1).T  # (n, t)
        known = known_terms(self.losses, targets)
        summed = norms if known is None else norms.where(known, 0.0)
        self.add_rows(place, norm=summed, squares=summed.square())
        self.count_rows("counts", BINS, place, norms.log10())

    def measures(self) -> dict[str, Tensor]:
        """Mean and quartiles of the norm and n by (step, term)."""
        n = self.counts.sum(-1)
        quartiles = {name: 10**log for name, log in BINS.quartiles(self.counts).items()}
        std = deviation(self.norm, self.squares, n)
        return {"mean": self.norm / n, "std": std, **quartiles, "n": n}

    def table(self) -> pd.DataFrame:
        """Columns loss, term, step, epoch, weighted, mean, std, q25, median, q75, n, non_finite.

        The numbers are norms. ``weighted`` says whether the loss weighs any of its terms other
        than 1; the norms are as weighted. For ramp and as_trained see ``with_ramps``.
        """
        return self.terms_frame("mean")


@TermMagnitude.reads()
def magnitude_reading(table: pd.DataFrame) -> Reading:
    """Whether the non-top term is the longest of its loss where every weight is 1.

    Where all losses weigh their terms, whether it is as they weigh it. The interval takes the
    samples of the terms as independent; that another is longer is said at a level for all others.
    The number is the term's mean norm over all steps in every
    loss; no unit.
    """
    means, terms = _means(table), non_top_terms()
    found = means[means.index.get_level_values("term").isin(terms) & means["mean"].notna()]
    number = "; ".join(
        f"{loss}: {term} {numeral(value)}" for (loss, term), value in found["mean"].items()
    )
    weighted = table.groupby("loss").weighted.first()
    plain = [loss for loss, _ in found.index if not weighted[loss]]
    claims = []
    for loss in dict.fromkeys(plain or [loss for loss, _ in found.index]):
        of_loss = means.loc[loss]
        for term in (term for term in of_loss.index if term in terms):
            others = of_loss.drop(term)
            if others["mean"].isna().all() or pd.isna(of_loss["mean"][term]):
                continue
            if not of_loss["mean"][term]:
                claims.append(f"{term} in {loss} has no gradient")
                continue
            rival = others["mean"].idxmax()
            a, b = of_loss.loc[term], others.loc[rival]
            one = difference_of_means(*a[list(SPREAD)], *b[list(SPREAD)])
            if one.value < 0:  # the rival was picked, as the longest of the others
                one = one.chosen_of(others["mean"].count(), min(a.n, b.n))
            ours, theirs = numerals(a["mean"], b["mean"])
            claims.append(
                f"{term} in {loss}: {one.verdict} ({ours} against {rival} {theirs}, "
                f"{one.text('+.2g')})"
            )
    if not claims:
        told = "No loss here has a non-top term (low_other or nckd) beside others to compare."
        return Reading(told, number)
    where = "with every weight 1" if plain else "as the loss weighs it"
    asked = f"Is the non-top term the longest of its loss, {where}?"
    return Reading(f"{asked} {'; '.join(claims)}.", number)


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, std and n over all samples of all steps, by (loss, term)."""
    require(table, "loss", "term", "weighted", "mean", "std", "n", number="mean")
    return spread_over_samples(table, ["loss", "term"])


@TermMagnitude.picture("Norm of every term's gradient, as its loss weighs it", panels=True)
def magnitude_over_training(table: pd.DataFrame) -> Figure:
    """Mean gradient norm of each term against the step, a panel a loss, on one vertical axis.

    Losses of one term stand in the first panel together; DKD and GDKD with every weight 1 are in
    the table alone where the same terms are drawn with others. Bands are the middle half of the
    samples. Norms of 0 have no place on the logarithmic axis and leave a gap.
    """
    require(table, "loss", "term", "step", "mean", "q25", "q75", number="mean")
    panels = loss_panels(table)
    width = PAGE if len(panels) > 1 else COLUMN
    figure, axes = panel_grid(len(panels), 3, width, 2.0, 0.8)
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        for place, (_, line) in enumerate(rows.groupby(["loss", "term"], sort=False)):
            _draw_term(ax, line.sort_values("step"), place, rows.loss.nunique() > 1)
        ax.set_title(short(title, 26), loc="left", parse_math=False)
        ax.set_yscale("log")
    time_axis(axes[0], table.step)
    figure.supxlabel("training step" + state_left_out(table), fontsize="medium")
    figure.supylabel("gradient norm per sample, weighted\n(mean; band: middle half)",
                     fontsize="medium")  # fmt: skip
    terms_legend(figure)
    return figure


def _draw_term(ax: Axes, rows: pd.DataFrame, place: int, by_loss: bool) -> None:
    """Draw one line with its band, named by its loss where a panel holds several."""
    term, loss = rows.term.iloc[0], rows.loss.iloc[0]
    mean, low, high = (
        rows[column].where(rows[column] > 0).to_numpy() for column in ("mean", "q25", "q75")
    )
    again = by_loss and term != loss
    look = {
        "linestyle": DASHES[place % len(DASHES)] if again else DASHES[0],
        "marker": "o" if len(rows) <= 12 else None,
        "label": f"{loss}: {term}" if again else term,
    }
    banded_line(ax, rows.step, mean, low, high, term_colour(term), **look)
    draw_as_trained(ax, rows, term_colour(term))


@styled
def magnitude_of_terms(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean gradient norm of every term at a single step, with the line of the middle half.

    Terms are grouped by loss.
    """
    require(table, "loss", "term", "weighted", "mean", "q25", "q75", number="mean")
    ax = ax or new_axes(NARROW, 1.1 + 0.22 * len(table) + 0.12 * table.loss.nunique())
    another = table.loss.ne(table.loss.shift())  # a gap stands before every other loss
    places = np.arange(len(table)) + 0.6 * another.cumsum().to_numpy()
    for row, place in zip(table.itertuples(), places, strict=True):
        colour = term_colour(row.term)
        if row.q75 > 0:
            ax.plot([row.q25 or np.nan, row.q75], [place] * 2, color=colour, linewidth=2.5)
        if row.mean > 0:
            ax.plot(row.mean, place, marker="o", markersize=6, color=colour, linestyle="none")
    texts = [
        row.term if row.term == row.loss else f"{short(row.loss, 20, table.loss)}: {row.term}"
        for row in table.itertuples()
    ]
    ax.set_yticks(places, labels=texts, parse_math=False)
    ax.invert_yaxis()
    ax.set_xscale("log")
    round_ticks(ax.xaxis)
    ax.grid(axis="x", color=FAINT, linewidth=0.5)
    kind = "weighted as the loss weighs it" if table.weighted.any() else "unweighted"
    what = f"gradient norm per sample, {kind}\n(mean; line: middle half)"
    ax.set_xlabel(what + state_left_out(table))
    return ax


def magnitude_by_run(table: pd.DataFrame) -> Figure:
    """Mean gradient norm of every term of every run; of ``TermMagnitude`` with a column run.

    A term that two losses share with equal norms is drawn once.
    """
    require(table, "run", "loss", "term", "step", "mean", "n", number="mean")
    label = table.term.where(table.term == table.loss, table.loss + ": " + table.term)
    repeated = table.duplicated(["run", "step", "term", "mean"])
    rows = table.assign(label=label)[~repeated.groupby(label).transform("all")]
    rows = with_ends(rows, "mean", rows["std"] / rows.n**0.5, log=True)
    return lines_by_run(rows, "mean", "label", "mean gradient norm, weighted", log=True)
