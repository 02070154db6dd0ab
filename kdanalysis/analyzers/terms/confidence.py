"""Shares by teacher confidence (figure 3; DKD, equation 6): which losses drown the relations."""

from collections.abc import Mapping

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.by_term import term_names
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.terms.share import shares
from kdanalysis.core.gram import HasGradients, term_gradients
from kdanalysis.core.streams import Bins, sum_by_part
from kdanalysis.draw.look import (
    CYCLE,
    MARKERS,
    PAGE,
    Axes,
    new_axes,
    require,
    side_legend,
    state_left_out,
)
from kdanalysis.losses import non_top_terms

BINS = Bins(-14.0, 50.0, 3200)  # log odds of max p: steps of 0.02, from 1e-6 to 1 - 2e-22
DECILES = 10


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
    needs = ("student_logits", "teacher_logits", "target")

    def __init__(self, losses: Mapping[str, HasGradients], temperature: float | int = 1.0) -> None:
        self.names = term_names(losses)
        super().__init__(losses=dict(losses), temperature=temperature)
        self.add_sum("confidence", BINS.size)
        self.add_sum("samples", BINS.size)
        for state in ("share", "count"):
            self.add_sum(state, len(self.names), BINS.size)

    @classmethod
    def for_setting(cls, setting: Setting) -> "ShareByConfidence":
        """Return the analyzer of plain KD's inside, DKD and GDKD."""
        return cls(setting.inside | setting.decoupled)

    def add(self, student: Logits, teacher: Logits, target: Labels) -> None:
        """Add the finite samples of a batch."""
        student, teacher = student.double(), teacher.double()
        odds = log_odds(teacher / self.temperature)
        place = BINS.index(odds)
        rows = [odds.sigmoid().unsqueeze(0), torch.ones_like(odds).unsqueeze(0)]
        for loss in self.losses.values():
            share, valid = shares(term_gradients(loss, student, teacher, target))
            rows += [share, valid.double().expand_as(share)]
        sums = [row.new_zeros(len(row), BINS.size).index_add(1, place, row) for row in rows]
        self.accumulate(
            confidence=sums[0][0],
            samples=sums[1][0],
            share=torch.cat(sums[2::2]),
            count=torch.cat(sums[3::2]),
        )

    def compute(self) -> dict[str, Tensor]:
        """``share`` and ``n`` (term, decile); ``confidence`` (decile), mean max p; NaN if empty."""
        share, count, confidence, samples = (
            sum_by_part(state, self.samples, DECILES)
            for state in (self.share, self.count, self.confidence, self.samples)
        )
        return {
            "confidence": (confidence / samples).expand_as(share),
            "share": share / count,
            "n": count,
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns loss, term, decile (1 to 10), confidence, share, n, temperature, non_finite.

        ``confidence`` is the mean max p of the decile's samples at ``temperature``.
        """
        index = [(*name, decile) for name in self.names for decile in range(1, DECILES + 1)]
        frame = self.frame(index, ["loss", "term", "decile"])
        frame.insert(len(frame.columns) - 1, "temperature", self.temperature)
        return frame


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
    """In which losses the non-top share falls as the teacher grows confident; its ends, by loss.

    A fall to less than half from the least to the most confident tenth counts as falling.
    """
    falls, stays, ends = [], [], []
    for (loss, _), share in _relations(table).groupby(["loss", "term"], sort=False).share:
        first, last = share.iloc[0], share.iloc[-1]
        claim = f"{loss} ({first:.0%} to {last:.0%})"
        (falls if last < first / 2 else stays).append(claim)
        ends.append(f"{loss}: {first:.0%} to {last:.0%}")
    if falls and stays:
        claim = (
            f"From the least to the most confident tenth the non-top share falls in "
            f"{', '.join(falls)} and stays in {', '.join(stays)}."
        )
    elif falls:
        claim = (
            f"The non-top share falls with confidence in every loss here: {', '.join(falls)}; "
            f"these data do not show one that keeps it."
        )
    else:
        claim = (
            f"No loss here loses half of its non-top share from the least to the most confident "
            f"tenth: {', '.join(stays)}."
        )
    return Reading(claim, "; ".join(ends))


def _relations(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the non-top terms, of the deciles that have samples."""
    require(table, "loss", "term", "decile", "confidence", "share", "temperature", number="share")
    rows = table[table.term.isin(non_top_terms()) & table.share.notna()]
    if rows.empty:
        raise ValueError(
            f"the table has no shares of {non_top_terms()}, got terms {set(table.term)}"
        )
    return rows.sort_values("decile", kind="stable")


@ShareByConfidence.picture("Share of the non-top gradient by confidence")
def share_by_confidence(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the non-top relation gradient against the decile of teacher confidence.

    The numbers at the right end are the shares in the most confident tenth; the rows of low_other
    and nckd are drawn.
    """
    rows = _relations(table)
    ax = ax or new_axes(PAGE, 3.3)
    for i, ((loss, _), part) in enumerate(rows.groupby(["loss", "term"], sort=False)):
        last = part.share.iloc[-1]
        ax.plot(
            part.decile,
            100 * part.share,
            color=CYCLE[i % len(CYCLE)],
            marker=MARKERS[i % len(MARKERS)],
            label=f"{loss}: {100 * last:.0f} %",
        )
    confidence = rows.groupby("decile").confidence.first()
    labels = [f"{d}\n{short_confidence(value)}" for d, value in confidence.items()]
    ax.set_xticks(confidence.index, labels=labels)
    temperature = rows.temperature.iloc[0]
    ax.set_xlabel(
        f"tenth of the samples by teacher confidence\n"
        f"(below: its mean max p at T = {temperature:g}){state_left_out(table)}"
    )
    ax.set_ylabel("non-top share of the\ngradient norms (%)")
    ax.set_ylim(0, 100)
    side_legend(ax, "in the top tenth")
    return ax
