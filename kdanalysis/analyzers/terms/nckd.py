"""NCKD, DKD's non-target term (figure 6; DKD, table 5), by how sure the teacher is of the label."""

from collections.abc import Mapping, Sequence
from math import floor, log10

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.evidence import Interval, agreed, ended, mean_of
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.teacher.suppression import rest_odds
from kdanalysis.analyzers.terms.confidence import short_confidence
from kdanalysis.core.bins import Bins, sum_by_part
from kdanalysis.core.divergence import decompose, slopes
from kdanalysis.core.partition import Target
from kdanalysis.core.wording import REST, numeral, percent
from kdanalysis.draw.colours import DASHES, FAINT, GREY, term_colour
from kdanalysis.draw.look import PAGE, Axes, Figure, few_ticks, new_panels, side_legend
from kdanalysis.draw.names import short
from kdanalysis.draw.tables import require, state_left_out

BINS = Bins(-50.0, 50.0, 5000)  # log odds of p_label: steps of 0.02, from 2e-22 to 1 - 2e-22
PARTS = {"tenth": 10, "half": 2}
QUANTITIES = {"value": "value (nats)", "norm": "gradient norm"}
AMOUNTS = ("value", "norm", "kd_value", "kd_norm")
MEANS = ("confidence", *AMOUNTS)
STDS = tuple(f"{name}_std" for name in AMOUNTS)


class NCKDByConfidence(Analyzer):
    """Value and gradient norm of nckd by tenth and by half of the samples, least sure first.

        nckd = T^2 KL(p|rest || q|rest)      in KD's sum: (1 - p_label) nckd      (DKD, eq. 6)

    Samples are ranked by p_label, the teacher's probability of the label at T = 1: DKD ranks by it
    (table 5, arXiv 2203.08679), and it is what plain KD's factor 1 - p_label falls with. Table 5
    is about the accuracy of students trained on one half; value and norm say how much the term
    has to teach there, not what is learnt from it (see ``Confident`` for that).

    Parts hold equal numbers of samples as far as 5000 bins of width 0.02 on the log odds of p_label
    can tell samples apart: a bin goes as a whole to the part of its middle sample.

    Args:
        temperature: T > 0 of the term.
    """

    noun, title = "nckd", "NCKD by teacher confidence"
    needs = ("student_logits", "teacher_logits", "target")
    made_for = ("temperature",)

    def __init__(self, temperature: float | int = 4.0) -> None:
        super().__init__(temperature=temperature)
        self.add_sum("samples", BINS.size)
        self.add_sum("sums", len(MEANS), BINS.size)
        self.add_sum("squares", len(AMOUNTS), BINS.size)

    def add(self, student: Logits, teacher: Logits, target: Labels) -> None:
        """Add the finite samples of a batch."""
        student, teacher, label = student.double(), teacher.double(), target.long()
        t, odds = self.temperature, -rest_odds(teacher, label)
        sides = student, teacher, Target().members(teacher, label)
        value = t**2 * decompose(*sides, t).low[:, 1]
        slope = slopes(*sides, (1.0, 1.0, 1.0), t).low[1]
        norm, rest = slope.norm(dim=-1), rest_odds(teacher / t, label).sigmoid()
        place = BINS.index(odds)
        rows = torch.stack([odds.sigmoid(), value, norm, rest * value, rest * norm])
        self.accumulate(samples=place.bincount(minlength=BINS.size))
        for name, values in {"sums": rows, "squares": rows[1:].square()}.items():
            empty = values.new_zeros(len(values), BINS.size)
            self.accumulate(**{name: empty.index_add(1, place, values)})

    def measures(self) -> dict[str, Tensor]:
        """What the table says, tenths before halves; NaN in a part without samples."""
        n, sums, squares = (
            torch.cat([sum_by_part(state, self.samples, p) for p in PARTS.values()], -1)
            for state in (self.samples, self.sums, self.squares)
        )
        borders = [i / parts for parts in PARTS.values() for i in range(parts)]
        lowest = torch.stack([BINS.quantile(self.samples, q) for q in borders]).sigmoid()
        means = dict(zip(MEANS, sums / n, strict=True))
        stds = dict(zip(STDS, deviation(sums[1:], squares, n), strict=True))
        return {"lowest": lowest, **means, **stds, "n": n}

    def table(self) -> pd.DataFrame:
        """Columns part, place, lowest, confidence, value, norm, kd_value, kd_norm, stds, n, ...

        ``part`` is "tenth" or "half", ``place`` counts from the least sure. ``lowest`` is the
        p_label at T = 1 with which the part begins, ``confidence`` its mean. Values in nats and L2
        norms of gradients in the student logits are means over samples, T^2 included; ``kd_`` those
        inside plain KD. ``value_std`` and its like are standard deviations over samples. The last
        columns are temperature (of the term) and non_finite.
        """
        index = [(part, i + 1) for part, parts in PARTS.items() for i in range(parts)]
        return self.frame(index, ["part", "place"], temperature=self.temperature)


@NCKDByConfidence.reads()
def nckd_reading(table: pd.DataFrame) -> Reading:
    """Whether the surer half of the samples holds more of nckd; its part, alone and in KD.

    It does where its shares of the summed value and of the summed gradient norm both lie above a
    half, with their 95 % intervals; it does not where both lie below.
    """
    shares = half_shares(table)
    if np.isnan(shares["norm"].value):
        nothing = "nckd is 0 for every sample"
        return Reading(
            f"{nothing}: two classes have no relations among the others, or the student equals "
            f"its teacher.",
            nothing,
        )
    told = {name: one.share() for name, one in shares.items()}
    number = (
        f"surer half: {told['value']} of the value, {told['norm']} of the norm of "
        f"nckd; inside KD {told['kd_value']} and {told['kd_norm']}"
    )
    border = table[(table.part == "half") & (table.place == 2)].lowest.iloc[0]
    claim = (
        f"the samples whose label has a probability above {_probability(border)} hold "
        f"{told['value']} of its value and {told['norm']} of its gradient norm; inside "
        f"KD, which scales it by {REST}, {told['kd_value']} and {told['kd_norm']}"
    )
    more = agreed(shares[name].above(0.5) for name in QUANTITIES)
    head = f"That the surer half of the samples holds more of nckd {ended(more)}"
    return Reading(f"{head}: {claim}.", number)


def half_shares(table: pd.DataFrame) -> dict[str, Interval]:
    """Part of the sum over all samples that the surer half holds; NaN where the sum is 0.

        S = A / (A + B)        Var S = (B^2 Var A + A^2 Var B) / (A + B)^4

    A and B are the sums of two halves of independent samples; their border is taken as given. Half
    is NaN where one of them has fewer than two samples.
    """
    rows, shares = part_rows(table, "half"), {}
    reach = wide(rows.groupby("place").n.sum().min())
    for name in AMOUNTS:
        sums, spread = (
            {place: float(found[rows.place == place].sum()) for place in (1, 2)}
            for found in (rows[name] * rows.n, rows[f"{name}_std"] ** 2 * rows.n)
        )
        whole = sums[1] + sums[2] or float("nan")
        error = np.sqrt(sums[1] ** 2 * spread[2] + sums[2] ** 2 * spread[1]) / whole**2
        shares[name] = Interval(sums[2] / whole, float(reach * error))
    return shares


def _probability(p: float) -> str:
    """A probability with the digits that tell it from 0 and 1: 0.52, 0.99983."""
    return numeral(p, 2) if p < 0.5 else f"{p:.{1 - floor(log10(max(1 - p, 1e-15)))}f}"


def part_rows(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """The parts of one kind that have samples."""
    require(table, "part", "place", "lowest", *MEANS, *STDS, "n", number="value")
    return table[(table.part == part) & (table.n > 0)]


@NCKDByConfidence.picture("Value and gradient norm of nckd, least sure samples first", panels=True)
def nckd_by_confidence(
    table: pd.DataFrame, accuracy: Mapping[str, Sequence[float]] | None = None
) -> Figure:
    """Mean value and gradient norm of nckd by tenth of the samples, alone and inside plain KD.

    The shade is the surer half of the samples; the legend says which part of the whole it holds.

    Args:
        table: as ``NCKDByConfidence.table`` gives it.
        accuracy: in [0, 1], one a seed, of students trained with nckd, by name, such as on one half
            of the samples (``Confident``); they get a panel below.

    Raises:
        ValueError: there is nothing to draw, or an accuracy is no share.
    """
    rows = part_rows(table, "tenth")
    if accuracy is None:
        figure, axes = new_panels(2, 1, figsize=(PAGE, 4.8), sharex=True)
    else:
        ratios = {"height_ratios": (1, 1, 0.1 + 0.15 * len(accuracy))}
        figure, (*axes, below) = new_panels(3, 1, figsize=(PAGE, 6.6), **ratios)
        axes[0].sharex(axes[1])
        axes[0].tick_params(labelbottom=False)
        draw_accuracies(below, accuracy, term_colour("nckd"))
    shares = half_shares(table)
    for ax, (quantity, label) in zip(axes, QUANTITIES.items(), strict=True):
        for prefix, name, colour, dash, marker in (
            ("", "nckd", term_colour("nckd"), DASHES[0], "o"),
            ("kd_", "inside KD", term_colour("kd"), DASHES[1], "s"),
        ):
            share = shares[prefix + quantity].value
            text = name if np.isnan(share) else f"{name}: {percent(share, 0)}"
            look = {"color": colour, "linestyle": dash, "marker": marker}
            ax.plot(rows.place, rows[prefix + quantity], label=text, **look)
        ax.axvspan(5.5, 10.4, color=FAINT, alpha=0.25, linewidth=0, zorder=0)
        ax.axvline(5.5, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        ax.set_xlim(0.6, 10.4)
        ax.set_ylabel(f"mean {label}")
        ax.set_ylim(0, 1.08 * ax.get_ylim()[1])
        side_legend(ax, "in the surer half (grey)")
    labels = [
        f"{p}\n{short_confidence(c)}" for p, c in zip(rows.place, rows.confidence, strict=True)
    ]
    axes[-1].set_xticks(rows.place, labels=labels)
    temperature = rows.temperature.iloc[0]
    axes[-1].set_xlabel(
        "tenth of the samples by the teacher's probability of the label\n"
        f"(below: its mean at T = 1; nckd at T = {temperature:g}, weight 1, T² included)"
        f"{state_left_out(table)}"
    )
    return figure


def draw_accuracies(ax: Axes, accuracy: Mapping[str, Sequence[float]], colour: str) -> None:
    """A line a student: a ring a seed, a dot for the mean with its 95 % interval.

    Raises:
        ValueError: there are none, or one is no share.
    """
    if not accuracy or not all(len(seeds) for seeds in accuracy.values()):
        raise ValueError(f"need the accuracies of one student or more, got {dict(accuracy)}")
    for place, (name, seeds) in enumerate(accuracy.items()):
        if not all(0 <= one <= 1 for one in seeds):
            raise ValueError(f"accuracies lie in [0, 1], those of {name!r} are {list(seeds)}")
        mean = mean_of(seeds)
        ax.plot(100 * np.asarray(seeds), [place] * len(seeds), "o", color=colour, fillstyle="none")
        ax.plot(100 * mean.value, place, "o", color=colour, markersize=7)
        if not np.isnan(mean.half):
            ax.hlines(place, 100 * mean.low, 100 * mean.high, color=colour, linewidth=1.2)
    names = [short(name, 24, accuracy) for name in accuracy]
    ax.set_yticks(range(len(names)), labels=names, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    few_ticks(ax.xaxis, 5)
    ax.set_xlabel("accuracy of students (%; ring: a seed, line: 95 % interval of the mean)")
