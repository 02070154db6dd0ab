"""Top-k mass (figure 7): how many classes the teacher's probability spreads over."""

from collections.abc import Sequence
from math import log10

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Logits
from kdanalysis.analyzers.chunks import chunks
from kdanalysis.analyzers.evidence import UNTESTED, Z, between, ended
from kdanalysis.analyzers.noun import Reading
from kdanalysis.core.bins import Bins
from kdanalysis.core.largest import ranked
from kdanalysis.core.octaves import exponentials
from kdanalysis.core.vocabulary import VOCABULARY
from kdanalysis.core.wording import percent
from kdanalysis.draw.axes import LOGARITHMIC, k_axis
from kdanalysis.draw.colours import GREY, ladder_colours
from kdanalysis.draw.look import PAGE, Axes, new_axes, side_legend
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.tables import require, state_left_out

BINS = Bins(0.0, 1.0, 500)  # quantiles of a mass are good to 0.002
EACH, A_DECADE = 100, 24  # of a vocabulary every k up to here, then so many
STEP = 10 ** (1 / A_DECADE) - 1  # from one of those to the next
MOST = 0.95  # of the mass
ENTRIES = 2**20  # of a chunk: of a vocabulary some rows


class TopKMass(Analyzer):
    """Sum of the k largest softmax(teacher / T), for every k from 1 to c and every T.

    Of a vocabulary, of more than 5000 classes, for every k up to 100, then 24 k a decade, and c.

    The mean is exact. The quartiles come from 500 bins on [0, 1]: each is within 0.002 of the
    sample's own.

    Args:
        num_classes: c, at least 2.
        temperatures: every T > 0 to look at.
    """

    noun, title = "mass", "Top-k mass"
    needs = ("teacher_logits",)
    made_for = ("num_classes",)

    def __init__(self, num_classes: int, temperatures: Sequence[float | int] = (1, 2, 4, 8)):
        super().__init__(num_classes=num_classes, temperatures=temperatures)
        self.ks = mass_ks(num_classes)
        self.add_sum("mass", len(self.temperatures), len(self.ks))
        self.add_sum("counts", len(self.temperatures), len(self.ks), BINS.size)

    def add(self, teacher: Logits) -> None:
        """Add the finite samples of a batch."""
        parts = [self._masses(ranked(p).double()) for (p,) in chunks(teacher, entries=ENTRIES)]
        masses = torch.cat(parts, 1)
        rows = torch.arange(self.mass.numel(), device=masses.device).view_as(self.mass)
        BINS.add(self.counts, masses, rows.unsqueeze(1).expand_as(masses))
        self.accumulate(mass=masses.sum(1))

    def _masses(self, logits: Logits) -> Float[Tensor, "t n k"]:
        """Top-k masses of sorted logits; all of it is exactly 1."""
        place, below = torch.tensor(self.ks, device=logits.device) - 1, logits - logits[:, :1]
        masses = logits.new_empty(len(self.temperatures), len(logits), len(self.ks))
        sums = torch.empty_like(below)
        for row, powers in exponentials(below, self.temperatures):
            torch.cumsum(powers, -1, out=sums)
            torch.div(sums[:, place], sums[:, -1:], out=masses[row])
        return masses

    def measures(self) -> dict[str, Tensor]:
        """Mean and quartiles of the mass, and the samples n, by (temperature, k)."""
        n = self.counts.sum(-1)
        return {"mean": self.mass / n, **BINS.quartiles(self.counts), "n": n}

    def table(self) -> pd.DataFrame:
        """Columns temperature, k, mean, q25, median, q75 (masses in [0, 1]), n, non_finite."""
        return self.grid(temperature=self.temperatures, k=self.ks)


def mass_ks(classes: int) -> tuple[int, ...]:
    """Return every k, or of a vocabulary those at which the curve of the mass is read."""
    if classes <= VOCABULARY:
        return tuple(range(1, classes + 1))
    steps = range(round(A_DECADE * log10(EACH)), int(A_DECADE * log10(classes)) + 1)
    wide = {round(10 ** (step / A_DECADE)) for step in steps}
    return tuple(sorted({*range(1, EACH + 1), *wide, classes}))


@TopKMass.reads()
def mass_reading(table: pd.DataFrame) -> Reading:
    """Whether the knee moves to the right as T grows; knee k and its mean mass, by temperature.

    Where other samples could put the knee elsewhere, its 95 % interval stands beside it. It moves
    right where the interval of the last T lies beyond that of the first.
    """
    found, mass = knee_by_temperature(table), table.set_index(["temperature", "k"])["mean"]
    number = "; ".join(f"T = {t:g}: k = {k:,} holds {mass[(t, k)]:.2f}" for t, k in found.items())
    ends = {t: knee_ends(rows) for t, rows in table.groupby("temperature")}
    listed = ", ".join(f"{k:,}{_ends_told(*ends[t])} at T = {t:g}" for t, k in found.items())
    if len(found) < 2:
        return Reading(f"The knee of the top-k mass lies at k = {listed}.", number)
    if table.k.max() == 2:
        return Reading(
            "With two classes the knee of the top-k mass lies at k = 1 at every T.", number
        )
    first, last = min(ends), max(ends)
    moved = between(ends[last][0] - ends[first][1], ends[last][1] - ends[first][0])
    verdict = UNTESTED if 0 in (*ends[first], *ends[last]) else moved.verdict
    return Reading(
        f"That the knee of the top-k mass moves right with the temperature {ended(verdict)}: "
        f"k = {listed}.",
        number,
    )


def knee_ends(rows: pd.DataFrame) -> tuple[int, int]:
    """Ends of the 95 % interval of the knee at one temperature; 0 and 0 where n is not known.

    The knee is the last k whose ranks hold more than 1 / c each. The mass of rank j lies between 0
    and 1 / j, so that its variance over samples is at most D (1 / j - D) at a mean of D: the
    interval is at most too wide.
    """
    rows = rows.sort_values("k")
    if "n" not in rows or not rows.n.min() > 0:
        return 0, 0
    ks, mean = rows.k.to_numpy(), rows["mean"].to_numpy()
    held, wide = np.diff(mean, prepend=0.0), np.diff(ks, prepend=0)
    most = np.minimum(1, wide / (ks - wide + 1))
    half = Z * np.sqrt((held * (most - held)).clip(0) / rows.n.to_numpy())
    sure, may = (int((held + x > wide / ks[-1]).cumprod().sum()) for x in (-half, half))
    return int(ks[max(sure - 1, 0)]), int(ks[max(may - 1, 0)])


def _ends_told(low: int, high: int) -> str:
    return f" ({low:,} to {high:,})" if low < high else " (interval unknown)" if not high else ""


def knee_by_temperature(table: pd.DataFrame) -> dict[float, int]:
    """The knee of the mean mass, by temperature."""
    require(table, "temperature", "k", "mean", number="mean")
    curves = table.pivot(index="temperature", columns="k", values="mean")
    ks = torch.tensor(curves.columns.to_numpy())
    found = knees(torch.tensor(curves.to_numpy()), ks)
    return dict(zip(curves.index, found.tolist(), strict=True))


def knees(curves: Float[Tensor, "t m"], ks: Int[Tensor, " m"] | None = None) -> Int[Tensor, " t"]:
    """The smallest k at which each top-k mass stands highest above a uniform teacher's k / c.

    Heights that are equal up to rounding count as equal: a uniform teacher has its knee at k = 1.

    Args:
        curves: masses.
        ks: of the masses, ascending to c; all from 1 if not given.
    """
    if ks is None:
        ks = torch.arange(1, curves.shape[-1] + 1, device=curves.device)
    above = curves - ks / ks[-1].to(curves)
    return ks[(above >= above.amax(-1, keepdim=True) - 1e-12).int().argmax(-1)]


@TopKMass.picture("Teacher probability held by the k most probable classes")
def mass_by_k(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean mass of the k most probable classes against k, one curve a temperature.

    The band is the middle half of the samples, the dashed line a uniform teacher. A ring marks
    the knee, the k at which a curve stands highest above the uniform line, which is the k of the
    candidates; a square the first k that holds 95 % of the mass. Of a vocabulary the label says how
    far apart the k above 100 are that a curve is read at: no knee there is known to less.
    """
    require(table, "q25", "q75")
    ax = ax or new_axes(PAGE, 3.3)
    classes = int(table.k.max())
    colours = ladder_colours(table.temperature)
    found = knee_by_temperature(table)
    for temperature, rows in table.groupby("temperature"):
        rows, colour, knee = rows.sort_values("k"), colours[temperature], found[temperature]
        most = rows[rows["mean"] >= MOST].iloc[0]
        label = f"T = {temperature:g}: k = {knee:,} and {most.k:,.0f}"
        banded_line(ax, rows.k, rows["mean"], rows.q25, rows.q75, colour, label=label)
        ring = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "markeredgewidth": 1.6}
        ax.plot([knee], rows["mean"][rows.k == knee], color=colour, linestyle="none", **ring)
        ax.plot([most.k], [most["mean"]], "s", color=colour, markersize=6, clip_on=False)
    first = table[table.temperature == table.temperature.iloc[0]].sort_values("k")
    ax.plot(first.k, first.k / classes, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    ax.axhline(MOST, color=GREY, linewidth=1, linestyle=":", zorder=0)
    ax.set_ylim(0, 1.02)
    k_axis(ax, first.k.tolist())
    if classes > LOGARITHMIC:
        ax.set_xlim(0.95, classes * 1.05)
    grid = "" if len(first) == classes else f"\n(above {EACH} one k in {percent(STEP, 0)} is read)"
    ax.set_xlabel(
        "k, the number of most probable classes\n"
        "(line: mean; band: middle half of the samples;\ndashed: uniform; dotted: 95 %)"
        f"{grid}{state_left_out(table)}"
    )
    ax.set_ylabel("teacher mass of the top k")
    side_legend(ax, "knee (ring), largest gap to\nuniform; 95 % (square)")
    return ax
