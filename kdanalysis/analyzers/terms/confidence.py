"""Shares by teacher confidence (figure 3; DKD, equation 6): which losses drown the relations."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Logits
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.by_term import term_names
from kdanalysis.analyzers.evidence import difference_of_means, sorted_by_verdict
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.targets import Targets
from kdanalysis.analyzers.terms.share import seen_shares
from kdanalysis.core.bins import Bins, sum_by_part
from kdanalysis.core.gram import HasGradients
from kdanalysis.core.wording import percent, percent_range
from kdanalysis.draw.colours import DASHES, loss_colours
from kdanalysis.draw.look import PAGE, Figure, top_legend
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.tables import require, state_left_out
from kdanalysis.losses import non_top_terms

BINS = Bins(-14.0, 50.0, 3200)  # log odds of max p: steps of 0.02, from 1e-6 to 1 - 2e-22
DECILES = 10
COLD = " (T = 1)"  # ends the names of losses at T = 1 beside those of a training


class ShareByConfidence(Analyzer):
    """Mean share of every term's gradient, by decile of the teacher's confidence max p.

    Shares as in ``TermShare``. Deciles hold equal numbers of samples as far as 3200 bins of width
    0.02 on the log odds log(max p / (1 - max p)) can tell samples apart: a bin goes as a whole to
    the decile of its middle sample. Decile 1 is the least confident tenth.

    Args:
        losses: the losses by a name of your own; ``KDParts`` for plain KD.
        temperature: T > 0 at which max p is read.
    """

    noun, title = "confidence", "Share against teacher confidence"
    needs, mixed = ("student_logits", "teacher_logits", "target"), True

    def __init__(self, losses: Mapping[str, HasGradients], temperature: float | int = 1.0) -> None:
        self.names = term_names(losses)
        super().__init__(losses=dict(losses), temperature=temperature)
        self.add_sum("confidence", BINS.size)
        self.add_sum("samples", BINS.size)
        for state in ("share", "squares", "count"):
            self.add_sum(state, len(self.names), BINS.size)

    @classmethod
    def for_setting(cls, setting: Setting) -> "ShareByConfidence":
        """Return the analyzer of plain KD's parts, DKD and GDKD, at their T and at T = 1."""
        losses = setting.inside | setting.decoupled
        if setting.temperature != 1:
            cold = replace(setting, temperature=1.0)
            both = cold.inside | cold.decoupled
            losses = losses | {f"{name}{COLD}": loss for name, loss in both.items()}
        return cls(losses)

    def add(self, student: Logits, teacher: Logits, targets: Targets) -> None:
        """Add the finite samples of a batch."""
        student, teacher = student.double(), teacher.double()
        odds = log_odds(teacher / self.temperature)
        place = BINS.index(odds)
        rows = [odds.sigmoid().unsqueeze(0), torch.ones_like(odds).unsqueeze(0)]
        for loss in self.losses.values():
            share, valid, _ = seen_shares(loss, student, teacher, targets)
            rows += [share, share.square(), valid.double().expand_as(share)]
        sums = [row.new_zeros(len(row), BINS.size).index_add(1, place, row) for row in rows]
        self.accumulate(
            confidence=sums[0][0],
            samples=sums[1][0],
            share=torch.cat(sums[2::3]),
            squares=torch.cat(sums[3::3]),
            count=torch.cat(sums[4::3]),
        )

    def measures(self) -> dict[str, Tensor]:
        """``share`` and ``n`` (term, decile); ``confidence`` (decile), mean max p; NaN if empty."""
        share, squares, count, confidence, samples = (
            sum_by_part(state, self.samples, DECILES)
            for state in (self.share, self.squares, self.count, self.confidence, self.samples)
        )
        return {
            "confidence": (confidence / samples).expand_as(share),
            "share": share / count,
            "std": deviation(share, squares, count),
            "n": count,
        }

    def table(self) -> pd.DataFrame:
        """Columns loss, term, decile (1 to 10), confidence, share, std, n, temperature, non_finite.

        ``confidence`` is the mean max p of the decile's samples at ``temperature``.
        """
        index = [(*name, decile) for name in self.names for decile in range(1, DECILES + 1)]
        return self.frame(index, ["loss", "term", "decile"], temperature=self.temperature)


def log_odds(logits: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Return log(max p / (1 - max p)) in nats, without the rounding of 1 - max p."""
    ranked = logits.sort(-1, descending=True).values
    return ranked[:, 0] - ranked[:, 1:].logsumexp(-1)


def short_confidence(confidence: float) -> str:
    """A confidence with the digits that tell it from 0 and 1: .52, .997, .003, ≈1."""
    rest = min(confidence, 1 - confidence)
    if rest >= 0.01:
        return f"{confidence:.2f}".lstrip("0")
    return f"{confidence:.3f}".lstrip("0") if rest >= 0.0005 else f"≈{confidence:.0f}"


@ShareByConfidence.reads()
def confidence_reading(table: pd.DataFrame) -> Reading:
    """Whether the non-top share is smaller in the most confident tenth than in the least, by loss.

    The change stands beside, in points, with the interval of independent samples.
    """
    parts: dict[str, list[str]] = {}
    ends = []
    for (loss, _), rows in _relations(table).groupby(["loss", "term"], sort=False):
        of_tenths = list(rows.itertuples())
        first, last = of_tenths[0], of_tenths[-1]
        fall = difference_of_means(first.share, first.std, first.n, last.share, last.std, last.n)
        change = fall._replace(value=-fall.value)
        claim = f"{loss} {percent_range(first.share, last.share)} ({change.points()})"
        parts.setdefault(fall.verdict, []).append(claim)
        ends.append(f"{loss}: {percent_range(first.share, last.share)}")
    told = "A fall of the non-top share from the least to the most confident tenth"
    said = "; ".join(f"{seen} in {', '.join(which)}" for seen, which in sorted_by_verdict(parts))
    return Reading(f"{told}: {said}.", "; ".join(ends))


def _relations(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the non-top terms, of the deciles that have samples."""
    columns = ("loss", "term", "decile", "confidence", "share", "std", "n", "temperature")
    require(table, *columns, number="share")
    rows = table[table.term.isin(non_top_terms()) & table.share.notna()]
    if rows.empty:
        raise ValueError(
            f"the table has no shares of {non_top_terms()}, got terms {sorted(set(table.term))}"
        )
    return rows.sort_values("decile", kind="stable")


@ShareByConfidence.picture("Share of the non-top gradient by confidence", panels=True)
def share_by_confidence(table: pd.DataFrame) -> Figure:
    """Share of the non-top gradient against the decile of teacher confidence, a panel a partition.

    The numbers in the legends are the shares in the most confident tenth. Dashed lines are the
    same losses at T = 1.
    """
    rows = _relations(table)
    terms = list(dict.fromkeys(rows.term))
    figure, axes = panel_grid(len(terms), 2, PAGE, 3.2, 0.9)
    for ax, term in zip(axes, terms, strict=True):
        of_term = rows[rows.term == term]
        colours = loss_colours(name.removesuffix(COLD) for name in of_term.loss)
        for loss, part in of_term.groupby("loss", sort=False):
            last, cold = part.share.iloc[-1], loss.endswith(COLD)
            ax.plot(
                part.decile,
                100 * part.share,
                color=colours[loss.removesuffix(COLD)],
                linestyle=DASHES[1] if cold else DASHES[0],
                marker="o",
                label=f"{loss}: {percent(last, 0)}",
            )
        confidence = rows.groupby("decile").confidence.first()
        ticks = [d for d in confidence.index if d in (1, 4, 7, 10)] or list(confidence.index)
        labels = [f"{d}\n{short_confidence(confidence[d])}" for d in ticks]
        ax.set_xticks(ticks, labels=labels)
        top_legend(ax, 1, f"{term} (number: the surest tenth)")
    temperature = rows.temperature.iloc[0]
    figure.supxlabel(
        f"tenth of the samples by teacher confidence\n"
        f"(below: its mean max p at T = {temperature:g}){state_left_out(table)}",
        fontsize="medium",
    )
    axes[0].set_ylabel("non-top share of the\ngradient norms, weighted (%)")
    axes[0].set_ylim(0, 100)
    return figure
