"""Suppression (figure 5): the factor 1 - p by which plain KD scales what it says of other classes.

DKD, equation 6, arXiv 2203.08679; by teacher in its tables 11 and 12.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.chunks import chunks
from kdanalysis.analyzers.evidence import difference_of_means, share_of
from kdanalysis.analyzers.frames import histogram
from kdanalysis.analyzers.noun import Reading, Tables
from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.student_t import for_all
from kdanalysis.core.bins import Bins
from kdanalysis.core.largest import top
from kdanalysis.core.octaves import exponentials
from kdanalysis.core.streams import check_temperature
from kdanalysis.core.wording import REST, numeral, percent
from kdanalysis.draw.tables import require

BINS = Bins(-50.0, 50.0, 1000)  # log odds of 1 - p: steps of 0.1, from 2e-22 to 1 - 2e-22
CLASSES = ("label", "top")
ENTRIES = 2**18  # of a chunk
OTHERS = "Their samples are not the same, which alone may do it. "
SMALL = 0.1  # KD keeps less than a tenth of what it says of the other classes


class Suppression(Analyzer):
    """Histogram and mean of 1 - p at several T, p = softmax(teacher / T) of one class.

    KD weighs its non-target term by 1 - p_label. Without labels there is 1 - max p, which is the
    same wherever the teacher is right. The bins are equal in the log odds log((1 - p) / p), so that
    both a sure teacher, near 0, and an unsure one, near 1, keep their shape.

    Args:
        num_classes: c, at least 2.
        temperatures: every T > 0 to look at.
        distilled: T of the training, which is told and drawn first; added where it lacks.
    """

    noun, title, beside = "suppression", "Suppression of the other classes", False
    needs = ("teacher_logits",)
    takes = ("target",)

    def __init__(
        self,
        num_classes: int,
        temperatures: Sequence[float | int] = (1, 4),
        distilled: float | int = 4.0,
    ) -> None:
        ladder = sorted({*map(float, temperatures), check_temperature(distilled)})
        super().__init__(num_classes=num_classes, temperatures=ladder, distilled=float(distilled))
        self.add_sum("sum", len(CLASSES), len(self.temperatures))
        self.add_sum("counts", len(CLASSES), len(self.temperatures), BINS.size)

    @classmethod
    def for_setting(cls, setting: Setting) -> "Suppression":
        """Return the analyzer at T = 1 and at the temperature of the losses."""
        return cls(setting.num_classes, (1.0,), setting.temperature)

    def add(self, teacher: Logits, target: Labels | None) -> None:
        """Add the finite samples of a batch, with labels where there are some."""
        others = () if target is None else (target.long(),)
        for logits, *labels in chunks(teacher, *others, entries=ENTRIES):
            self._add(logits.double(), *labels)

    def _add(self, logits: Logits, target: Labels | None = None) -> None:
        first = top(logits)
        odds = odds_ladder(logits, first, self.temperatures)
        self._count("top", odds)
        if target is not None:
            own, most = (logits.gather(-1, i.unsqueeze(-1)).squeeze(-1) for i in (target, first))
            ladder = odds.new_tensor(self.temperatures).unsqueeze(-1)
            log_p = (own - most) / ladder - odds.logaddexp(odds.new_zeros(()))
            second = log_p.exp().neg().log1p() - log_p  # p is at most 1/2: 1 - p is not rounded
            self._count("label", odds.where(target == first, second))

    def _count(self, of: str, odds: Float[Tensor, "t n"]) -> None:
        rows = torch.arange(len(odds), device=odds.device).unsqueeze(-1).expand_as(odds)
        place = CLASSES.index(of)
        self.sum[place] += odds.sigmoid().sum(-1).to(self.sum)
        BINS.add(self.counts[place], odds, rows)

    def measures(self) -> dict[str, Tensor]:
        """``mean``, ``count`` by bin and ``n``, each by (label or top, temperature)."""
        n = self.counts.sum(-1)
        return {
            "mean": self.sum / n,
            "count": self.counts.clone(),
            "n": n,
        }

    def table(self) -> pd.DataFrame:
        """Columns of, temperature, low_log_odds, high_log_odds, count, share, mean, n, and more.

        ``of`` says whose p it is: "label" or "top", the teacher's most probable class. The log odds
        are the edges of a bin of log((1 - p) / p) in nats, to -inf and inf at the ends; ``mean`` is
        that of 1 - p itself, repeated. Bins without a sample have no row. Last are distilled, the
        training's T, and non_finite.
        """
        frame = histogram(BINS, self.counts, (CLASSES, self.temperatures), ["of", "temperature"])
        means = {
            (name, t): mean
            for name, row in zip(CLASSES, self.compute()["mean"].tolist(), strict=True)
            for t, mean in zip(self.temperatures, row, strict=True)
        }
        mean = [means[key] for key in zip(frame.of, frame.temperature, strict=True)]
        frame.insert(frame.columns.get_loc("n"), "mean", mean)
        frame = frame.rename(columns={"low": "low_log_odds", "high": "high_log_odds"})
        return frame.assign(distilled=self.distilled, non_finite=int(self.non_finite))


def rest_odds(logits: Float[Tensor, "n c"], index: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return log((1 - p) / p) of one class a sample in nats, without the rounding of 1 - p."""
    return odds_ladder(logits, index, (1.0,))[0]


def odds_ladder(
    logits: Float[Tensor, "n c"], index: Int[Tensor, " n"], temperatures: Sequence[float]
) -> Float[Tensor, "t n"]:
    """Return the same at several temperatures."""
    place = index.unsqueeze(-1)
    rest = logits.scatter(-1, place, -torch.inf)
    largest = rest.amax(-1, keepdim=True)
    below, apart = rest - largest, (largest - logits.gather(-1, place)).squeeze(-1)
    odds = below.new_empty(len(temperatures), len(below))
    for row, powers in exponentials(below, temperatures):
        odds[row] = powers.sum(-1).log() + apart / temperatures[row]
    return odds


def join_teachers(tables: Tables) -> pd.DataFrame:
    """Return the tables of several teachers as one, their names in a column ``name``.

    Raises:
        ValueError: there is no table.
    """
    if not tables:
        raise ValueError("need the table of at least one teacher, got none")
    return pd.concat([t.assign(name=name) for name, t in tables.items()], ignore_index=True)


def comparable(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Rows of the class that all teachers have, by name, and whose p it is in words."""
    odds = ("low_log_odds", "high_log_odds")
    require(table, "of", "temperature", *odds, "count", "share", "mean", "n", "distilled")
    named = table if "name" in table else table.assign(name="")
    labelled = named[named.of == "label"]
    if set(labelled.name) == set(named.name):
        return labelled, "of the label"
    return named[named.of == "top"], "of the most probable class (for lack of labels)"


@Suppression.reads()
def suppression_reading(table: pd.DataFrame) -> Reading:
    """How small 1 - p is at the training's T, and of several teachers with whom it is smallest.

    Below 0.1 KD says less than a tenth of the non-target term. Of several teachers the smallest
    mean is held against the largest, as of independent samples, at a level for all pairs.
    """
    rows, what = comparable(table)
    edge = np.log(SMALL / (1 - SMALL)) + 0.01  # the bin below ends at -2.2, which is 0.0998
    own = float(rows.distilled.iloc[0])
    ladder = sorted(rows.temperature.unique(), key=lambda t: (t != own, t))
    groups = {(n, t): part for (n, t), part in rows.groupby(["name", "temperature"], sort=False)}
    found = {
        (name, t): (
            part["mean"].iloc[0],
            part.share[part.high_log_odds <= edge].sum(),
            part.n.iloc[0],
        )
        for (name, t), part in sorted(groups.items(), key=lambda one: ladder.index(one[0][1]))
    }
    number = "; ".join(
        f"{prefix(name)}T = {t:g}: mean {digits(mean)}, below {SMALL:g} for {percent(small, 0)}"
        for (name, t), (mean, small, _) in found.items()
    )
    first = {name: part for (name, t), part in groups.items() if t == ladder[0]}
    if len(first) > 1:
        return Reading(_order_sentence(first, ladder[0], what), number)
    claims = [
        f"{digits(mean)} on average at T = {t:g} and below {SMALL:g} for {share_of(small, n)} of "
        f"the samples"
        for (_, t), (mean, small, n) in found.items()
    ]
    return Reading(
        f"{REST} {what}, KD's factor on the other classes, is {'; '.join(claims)}.", number
    )


@Suppression.reads(of_all=True)
def teachers_reading(tables: Tables) -> Reading:
    """Which of several teachers suppresses most, by name; one that all share is read once."""
    apart = distinct(tables)
    if len(tables) == 1 or len(apart) > 1:
        return suppression_reading(join_teachers(apart))
    sentence, number = suppression_reading(next(iter(apart.values())))
    whose = ", ".join(tables) if len(tables) <= 5 else f"All {len(tables)}"
    return Reading(f"{whose} have one teacher. {sentence}", number)


def distinct(tables: Tables) -> dict[str, pd.DataFrame]:
    """Leave out the tables that are equal to one before: runs of one teacher."""
    kept: dict[str, pd.DataFrame] = {}
    for name, table in tables.items():
        if not any(table.equals(one) for one in kept.values()):
            kept[name] = table
    return kept


def _order_sentence(groups: Tables, temperature: float, what: str) -> str:
    means = {name: float(part["mean"].iloc[0]) for name, part in groups.items()}
    least, *_, most = ordered = sorted(means, key=means.get)
    listed = ", ".join(f"{name} {digits(means[name])}" for name in ordered)
    low, high = ((means[x], _deviation(groups[x]), groups[x].n.iloc[0]) for x in (least, most))
    pairs = len(means) * (len(means) - 1) // 2
    gap = difference_of_means(*high, *low).chosen_of(pairs, min(low[2], high[2]))
    return (
        f"The mean of {REST} {what} at T = {temperature:g} is {listed}. That KD says less of the "
        f"non-target classes with {least} as teacher than with {most} {gap.claim}: by "
        f"{gap.text('.2g')}{for_all(gap.half, pairs, 'pairs')}. {OTHERS * bool(low[2] != high[2])}"
        f"DKD finds larger teachers nearer 0; sizes are not in the logits."
    )


def _deviation(rows: pd.DataFrame) -> float:
    """Standard deviation of 1 - p over the samples of a histogram, to a bin's width."""
    edges = torch.tensor(rows[["low_log_odds", "high_log_odds"]].to_numpy()).sigmoid()
    off = edges.mean(-1).numpy() - rows["mean"].iloc[0]
    return float(np.sqrt((rows.share.to_numpy() * off**2).sum()))


def digits(share: float) -> str:
    """Two digits of a share, and of what is left where it is near 1."""
    if share < 0.01:
        return numeral(share, 2)
    return f"{share:.2f}" if share < 0.995 else f"{share:.4f}"


def prefix(name: str) -> str:
    """The beginning of a line about a teacher of this name, where it has one."""
    return f"{name}: " if name else ""
