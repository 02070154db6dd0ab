"""Gradient shares (figure 2): what part of its loss's gradient every term is."""

from collections.abc import Mapping
from functools import partial

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Logits
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.by_term import term_names
from kdanalysis.analyzers.evidence import difference_of_means
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.targets import Targets
from kdanalysis.core.gram import HasGradients, term_gradients
from kdanalysis.core.wording import percent
from kdanalysis.draw.colours import term_colour
from kdanalysis.draw.look import NARROW, Axes, new_axes, top_legend
from kdanalysis.draw.marks import WRITTEN, stacked_bars
from kdanalysis.draw.names import short
from kdanalysis.draw.tables import require, state_left_out
from kdanalysis.losses import non_top_terms


def shares(gradients: Float[Tensor, "t n c"]) -> tuple[Float[Tensor, "t n"], Bool[Tensor, " n"]]:
    """Share of every term per sample, and which samples have one.

        share_t = ||g_t|| / sum_s ||g_s||

    The shares of a sample add up to 1. Norms, not inner products: two terms that pull in opposite
    directions count both. A sample whose gradients are all zero has no share; its entries are 0.
    """
    norms = gradients.double().norm(dim=-1)
    total = norms.sum(0)
    return norms / total.where(total > 0, 1.0), total > 0


def seen_shares(
    loss: HasGradients, student: Logits, teacher: Logits, targets: Targets
) -> tuple[Float[Tensor, "t n"], Bool[Tensor, " n"], Bool[Tensor, " n"]]:
    """Return :func:`shares`, 0 in rows that the loss does not see, and which rows it sees."""

    def work(*batch: Tensor) -> Float[Tensor, "u k"]:
        share, there = shares(term_gradients(loss, *batch))
        return torch.cat((share, there.to(share).unsqueeze(0)))

    shape = 1 + len(loss.terms), len(student)
    found = targets.apply(loss, work, student, teacher, shape)
    seen = ~found[-1].isnan()
    return found[:-1].where(seen, 0.0), found[-1] == 1, seen


LONGEST = 36  # letters of a loss's name, or of a loss and a run


class TermShare(Analyzer):
    """Mean over samples of each term's share of its loss's gradient in the student logits.

    The gradients are weighted as the loss weighs them. Plain KD has a single term: give
    ``KDParts``, whose terms are high and P_g times low_g, to see its inside.

    Args:
        losses: the losses by a name of your own.
    """

    noun, title = "share", "Share of each term"
    needs = ("student_logits", "teacher_logits")
    takes, mixed = ("target", "soft_target"), True

    def __init__(self, losses: Mapping[str, HasGradients]) -> None:
        self.names = term_names(losses)
        super().__init__(losses=dict(losses))
        for state in ("share", "squares", "count", "zero"):
            self.add_sum(state, len(self.names))

    @classmethod
    def for_setting(cls, setting: Setting) -> "TermShare":
        """Return the analyzer of KD's parts, DKD and GDKD by weight, and the loss trained."""
        split = {**setting.inside, **setting.unit, **setting.decoupled, **setting.trained}
        return cls(split)

    def add(self, student: Logits, teacher: Logits, targets: Targets) -> None:
        """Add the finite samples of a batch."""
        sides = student.double(), teacher.double()
        found = [seen_shares(loss, *sides, targets) for loss in self.losses.values()]
        share = torch.cat([share.sum(-1) for share, _, _ in found])
        count, seen = (
            torch.cat([one[place].sum().expand(len(one[0])) for one in found]) for place in (1, 2)
        )
        squares = torch.cat([share.square().sum(-1) for share, _, _ in found])
        self.accumulate(share=share, squares=squares, count=count, zero=seen - count)

    def measures(self) -> dict[str, Tensor]:
        """``share`` in [0, 1], NaN without samples; the counts n, no_gradient."""
        return {
            "share": self.share / self.count,
            "std": deviation(self.share, self.squares, self.count),
            "n": self.count.clone(),
            "no_gradient": self.zero.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns loss, term, share (mean over samples), std, n, no_gradient, non_finite."""
        return self.frame(self.names, ["loss", "term"])


@TermShare.reads()
def share_reading(table: pd.DataFrame) -> Reading:
    """The non-top share in the first loss with that term, and how far it is from it in the others.

    Put plain KD (``KDParts``) first. A loss with every weight 1 shows what the partition does, one
    with other weights what these add. The intervals take the losses' samples as independent.
    """
    require(table, "loss", "term", "share", "std", "n", number="share")
    parts = []
    for term in non_top_terms():
        known = table[(table.term == term) & table.share.notna()]
        first, *rest = list(known.itertuples()) or [None]
        if not rest:
            continue
        if not known.share.any():
            parts.append(f"{term} has no gradient in {', '.join(known.loss)}.")
            continue
        claims = []
        for row in rest:
            told = (row.share, row.std, row.n), (first.share, first.std, first.n)
            one = difference_of_means(*told[0], *told[1])
            apart = f"{percent(row.share)} in {row.loss} ({one.points()})"
            claims.append(apart if row.share else f"without a gradient in {row.loss}")
        parts.append(f"{term} is {percent(first.share)} of the gradient in {first.loss}, "
                     f"{', '.join(claims)}.")  # fmt: skip
    if not parts:
        parts = ["No two losses here share a non-top term, so its share cannot be compared."]
    rows = table[table.term.isin(non_top_terms()) & table.share.notna()].itertuples()
    number = "; ".join(f"{row.loss}: {row.term} {percent(row.share)}" for row in rows)
    return Reading(" ".join(parts), number)


@TermShare.picture("What part of each loss's gradient every term is")
def share_of_terms(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """One stacked bar a loss: the mean share of every term's gradient, in percent.

    Numbers of segments too narrow for them stand beyond the bar, in their colours.
    """
    require(table, "loss", "term", "share", number="share")
    losses = list(dict.fromkeys(table.loss))
    ax = ax or new_axes(NARROW, 1.5 + 0.27 * len(losses))
    start, beyond = dict.fromkeys(losses, 0.0), dict.fromkeys(losses, 101.0)
    named = set()
    for row in table.itertuples():
        width = 0.0 if pd.isna(row.share) else 100 * row.share
        label = row.term if row.term not in named else None
        place, left, colour = losses.index(row.loss), start[row.loss], term_colour(row.term)
        stacked_bars(ax, [place], [width], [left], 0.66, colour, label=label)
        if 0 < width < 100 * WRITTEN:
            spot = (beyond[row.loss], place)
            ax.text(*spot, f"{width:.1f}", color=colour, va="center", weight="bold")
            beyond[row.loss] += 8
        start[row.loss] += width
        named.add(row.term)
    ax.set_yticks(
        range(len(losses)), labels=[short(x, LONGEST, losses) for x in losses], parse_math=False
    )
    ax.set_ylim(len(losses) - 0.5, -0.5)
    ax.set_xlim(0, 100)
    ax.set_xlabel(
        "share of the summed gradient norms,\nweighted (%, mean over samples)"
        + state_left_out(table)
    )
    top_legend(ax, min(len(named), 3))
    return ax


def share_by_run(table: pd.DataFrame) -> Axes:
    """Stacked bars of every loss, run below run; of ``TermShare`` with a column run."""
    require(table, "run", "loss", "term", "share", number="share")
    order = {loss: place for place, loss in enumerate(dict.fromkeys(table.loss))}
    rows = table.assign(place=table.loss.map(order)).sort_values("place", kind="stable")
    short_run = rows.run.map(partial(short, length=LONGEST // 2, among=set(rows.run)))
    return share_of_terms(rows.assign(loss=rows.loss + ", student " + short_run))
