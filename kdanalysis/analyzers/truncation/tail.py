"""Tail (the third figure of truncation): the mass outside the top K of teacher and student."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.evidence import Interval
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.truncation.part import Looked, Truncation, at_first
from kdanalysis.core.bins import Bins
from kdanalysis.core.wording import counted, percent
from kdanalysis.draw.axes import log_axis
from kdanalysis.draw.colours import DASHES, GREY, STUDENT, TEACHER
from kdanalysis.draw.look import PAGE, Figure, new_panels, plain_log, side_legend
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.tables import state_left_out

QUANTITIES = {
    "teacher": "mass outside the teacher's top K",
    "student": "mass outside the teacher's top K",
    "overlap": "share of the student's top K in it",
}
MASS_BINS = Bins(-12.0, 0.0, 12 * 64)  # log10; quantiles are good to 3.7 percent
SHARE_BINS = Bins(0.0, 1.0, MASS_BINS.count)  # quantiles are good to 0.0014
QUANTILES = {"q10": 0.1, "median": 0.5, "q90": 0.9}
SMALL = 0.05  # of the mass


class TailMass(Truncation):
    """Mass that teacher and student give to what is outside the teacher's top K, by T and K.

    ``teacher`` and ``student`` are masses in [0, 1], ``overlap`` the share of the student's own K
    most probable classes that are among the teacher's K; ``by_chance`` is what unrelated sides
    have of that, K over the number of classes, NaN of masses. Means are exact; quantiles over rows
    come from 768 bins and the mean of each, 64 a decade for masses (one below 1e-12 reads 0),
    0.0014 wide for the overlap.
    """

    noun, title = "truncation_tail", "What lies outside the top K"

    def __init__(self, *settings: object, **more: object) -> None:
        super().__init__(*settings, **more)
        shape = len(self.temperatures), len(QUANTITIES), len(self.ks)
        self.add_sum("sums", *shape)
        self.add_sum("squares", *shape)
        for name in ("counts", "binned"):
            self.add_sum(name, *shape, MASS_BINS.size)

    def add_rows(self, looked: Looked) -> None:
        """Add rows at one temperature."""
        found, ks = looked.found, torch.arange(len(self.ks))
        for quantity, values in enumerate((found.tail, found.student_tail, found.overlap)):
            bins, scaled = (SHARE_BINS, values) if quantity == 2 else (MASS_BINS, values.log10())
            counts, binned = (x[looked.place, quantity] for x in (self.counts, self.binned))
            bins.add(counts, scaled.clamp(max=bins.high), ks, (binned,))
            self.sums[looked.place, quantity] += values.sum(0).to(self.sums)
            self.squares[looked.place, quantity] += values.square().sum(0).to(self.squares)

    def compute(self) -> dict[str, Tensor]:
        """``mean``, ``std``, quantiles, ``by_chance``, ``n`` by (T, quantity, K); non_finite."""
        n = self.counts.sum(-1)
        masses = MASS_BINS.quantiles(self.counts[:, :2], QUANTILES, (self.binned[:, :2],))
        shares = SHARE_BINS.quantiles(self.counts[:, 2:], QUANTILES, (self.binned[:, 2:],))
        quantiles = {q: torch.cat((10 ** masses[q], shares[q]), 1) for q in QUANTILES}
        spread = {"std": deviation(self.sums, self.squares, n)}
        counts = {"n": n, "non_finite": self.non_finite.clone()}
        by_chance = torch.full_like(n, torch.nan)
        by_chance[:, 2] = torch.tensor(self.ks, dtype=n.dtype) / self.num_classes
        return {"mean": self.sums / n, **spread, **quantiles, "by_chance": by_chance, **counts}

    def table(self) -> pd.DataFrame:
        """Columns temperature, quantity, k, mean, std, q10, median, q90, by_chance, n, ..."""
        return self.grid(temperature=self.temperatures, quantity=QUANTITIES, k=self.ks)


@TailMass.reads()
def tail_reading(table: pd.DataFrame) -> Reading:
    """Whether one K serves all rows, how large the student's tail is, how the top K agree."""
    rows, temperature = at_first(table, "quantity", "k", "q90", "median")
    last = int(rows.k.max())
    of = {name: part.set_index("k") for name, part in rows.groupby("quantity")}
    teacher, student, overlap = (of[name] for name in QUANTITIES)
    first = {q: teacher.index[teacher[q] <= SMALL] for q in ("median", "q90")}
    median, most = (int(ks[0]) if len(ks) else None for ks in first.values())
    masses, held = teacher.loc[last], f"{percent(1 - SMALL, 0)} of the teacher's mass"
    claim = (
        f"Even K = {last} does not hold {held} in the median row, where "
        f"{percent(masses['median'])} lies outside, and {percent(masses.q90)} or more in one row "
        f"of ten"
    )
    if median:
        claim = f"{_alike(teacher.index, median, most, held)} in nine of ten"
    agrees = mean_over_rows(overlap.loc[last]).share()
    chance = overlap.get("by_chance")  # tables written before have none
    unrelated = "" if chance is None else f" ({percent(chance[last])} if they were unrelated)"
    sentence = (
        f"{claim}. {_beside(student.loc[last], masses, last)}; there its own top K agrees in "
        f"{agrees} of its classes{unrelated}."
    )
    if (n := int(masses.n)) < 10:
        sentence += f" One row of ten is the last of {counted(n, 'row')} here."
    return Reading(
        sentence,
        f"T = {temperature:g}, K = {last}, {counted(int(masses.n), 'row')}: outside lies "
        f"{percent(masses['mean'])} on average, {percent(masses['median'])} in the median row, "
        f"{percent(masses.q90)} in one of ten",
    )


def _alike(ks: pd.Index, median: int, most: int | None, held: str) -> str:
    """Say which K the median row takes and which nine of ten, and whether it is one.

    Those that were looked at bound it from above, unless the one below was looked at, too.
    """
    known = {k for k in ks if k == 1 or k - 1 in ks}
    takes = {k: f"{'' if k in known else 'at most '}K = {k}" for k in ks}
    reach = takes.get(most, f"more than K = {ks.max()}")
    claim = "No K serves all rows alike"
    if median == most:
        claim = "One K serves most rows"
        if most not in known:
            claim = "The K looked at are too few to tell whether one serves most rows"
    return f"{claim}: {held} takes {takes[median]} in the median row and {reach}"


def _beside(student: pd.Series, teacher: pd.Series, last: int) -> str:
    """Say how much more or less the student has outside than its teacher."""
    if not (student["mean"] and teacher["mean"]):
        own, its = percent(student["mean"]), percent(teacher["mean"])
        return f"The student has {own} outside K = {last}, its teacher {its}"
    times = times_as_much(student, teacher)
    side = "less" if times.value < 0 else "more"
    seen = (times.negated if side == "less" else times).claim
    return (
        f"That the student has {side} outside than its teacher {seen}: {times.ratio()} times as "
        f"much at K = {last}"
    )


def mean_over_rows(row: pd.Series) -> Interval:
    """The mean of a row of the table with its interval; half NaN in tables without ``std``."""
    half = wide(row.n) * float(row.get("std", np.nan)) / float(row.n) ** 0.5
    return Interval(float(row["mean"]), half)


def times_as_much(student: pd.Series, teacher: pd.Series) -> Interval:
    """The logarithm of the ratio of two means, by the delta method.

    As of independent rows: where student and teacher rise together it is too wide.
    """
    both = [mean_over_rows(row) for row in (student, teacher)]
    halves = [one.half / one.value for one in both]
    value = float(np.log(both[0].value / both[1].value))
    return Interval(value, float(np.hypot(*halves)))


@TailMass.picture("Mass outside the top K, and overlap of both top K", panels=True)
def tail_over_k(table: pd.DataFrame, temperature: float | None = None) -> Figure:
    """Two panels over K: masses outside the teacher's top K, and the overlap of both top K.

    Lines are medians, dashed ones means; bands reach from the first to the last tenth of the rows.

    Args:
        table: as ``TailMass.table`` gives it.
        temperature: which one to draw; the first of the table if None.
    """
    if temperature is not None:
        table = table[table.temperature == temperature]
    rows, chosen = at_first(table, "quantity", "k", "mean", "q10", "q90", "median")
    figure, (masses, overlap) = new_panels(2, 1, figsize=(PAGE, 4.8), sharex=True)
    colours = dict(zip(QUANTITIES, (TEACHER, STUDENT, GREY), strict=True))
    for name, colour in colours.items():
        ax = overlap if name == "overlap" else masses
        scale = 100
        line = rows[rows.quantity == name].sort_values("k")
        drawn = line if ax is overlap else line.where(line != 0)  # masses have a log axis
        low, middle, high = (scale * drawn[q] for q in QUANTILES)
        banded_line(ax, line.k, middle, low, high, colour, marker="o", label=f"{name}, median")
        look = {"linestyle": DASHES[1], "marker": ".", "label": f"{name}, mean"}
        ax.plot(line.k, scale * line["mean"], color=colour, **look)
    plain_log(masses)
    masses.set_ylabel("mass outside the\nteacher's top K (%)")
    overlap.set_ylabel("student's top K\nin it (%)")
    overlap.set_ylim(0, 104)
    log_axis(overlap, sorted(rows.k.unique().tolist()), "{x:.0f}")
    overlap.set_xlabel(
        f"K (T = {chosen:g}; band: all but the lowest and highest tenth of the rows)"
        f"{state_left_out(table)}"
    )
    for ax in (masses, overlap):
        side_legend(ax)
    return figure
