"""Top-k mass (figure 7): how many classes the teacher's probability spreads over."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Logits
from kdanalysis.analyzers.noun import Reading
from kdanalysis.core.streams import Bins
from kdanalysis.draw.axes import LOGARITHMIC, k_axis
from kdanalysis.draw.look import (
    GREY,
    PAGE,
    Axes,
    ladder_colours,
    new_axes,
    require,
    side_legend,
    state_left_out,
)
from kdanalysis.draw.marks import banded_line

BINS = Bins(0.0, 1.0, 500)  # quantiles of a mass are good to 0.002


class TopKMass(Analyzer):
    """Sum of the k largest softmax(teacher / T), for every k from 1 to c and every T.

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
        self.add_sum("mass", len(self.temperatures), num_classes)
        self.add_sum("counts", len(self.temperatures), num_classes, BINS.size)

    def add(self, teacher: Logits) -> None:
        """Add the finite samples of a batch."""
        ranked = teacher.double().sort(-1, descending=True).values
        ranks = torch.arange(self.num_classes, device=ranked.device).expand_as(ranked)
        # Rounding may lift a full mass a little over 1, where it would leave the last bin.
        masses = [(ranked / t).softmax(-1).cumsum(-1).clamp(max=1) for t in self.temperatures]
        self.accumulate(
            mass=torch.stack([mass.sum(0) for mass in masses]),
            counts=torch.stack([BINS.counts(mass, ranks, self.num_classes) for mass in masses]),
        )

    def compute(self) -> dict[str, Tensor]:
        """Mean and quartiles of the mass, and the samples n, by (temperature, k); non_finite."""
        n, facts = self.counts.sum(-1), {"non_finite": self.non_finite.clone()}
        return {"mean": self.mass / n, **BINS.quartiles(self.counts), "n": n, **facts}

    def table(self) -> pd.DataFrame:
        """Columns temperature, k, mean, q25, median, q75 (masses in [0, 1]), n, non_finite."""
        index = [(t, k) for t in self.temperatures for k in range(1, self.num_classes + 1)]
        return self.frame(index, ["temperature", "k"])


@TopKMass.reads()
def mass_reading(table: pd.DataFrame) -> Reading:
    """Whether the knee moves to the right as T grows; knee k and its mean mass, by temperature."""
    found, mass = knee_by_temperature(table), table.set_index(["temperature", "k"])["mean"]
    ladder = list(found.values())
    number = "; ".join(f"T = {t:g}: k = {k} holds {mass[(t, k)]:.2f}" for t, k in found.items())
    listed = ", ".join(f"{k} at T = {t:g}" for t, k in found.items())
    if len(ladder) < 2:
        return Reading(f"The knee of the top-k mass lies at k = {listed}.", number)
    told = "These data do not show the knee moving right with the temperature"
    if ladder == sorted(ladder) and ladder[0] < ladder[-1]:
        told = "The knee of the top-k mass moves right with the temperature"
    return Reading(f"{told}: k = {listed}.", number)


def knee_by_temperature(table: pd.DataFrame) -> dict[float, int]:
    """The knee of the mean mass, by temperature."""
    require(table, "temperature", "k", "mean", number="mean")
    curves = table.pivot(index="temperature", columns="k", values="mean")
    return dict(zip(curves.index, knees(torch.tensor(curves.to_numpy())).tolist(), strict=True))


def knees(curves: Float[Tensor, "t c"]) -> Int[Tensor, " t"]:
    """The smallest k at which each top-k mass stands highest above a uniform teacher's k / c.

    Heights that are equal up to rounding count as equal: a uniform teacher has its knee at k = 1.
    """
    ranks = torch.arange(1, curves.shape[-1] + 1, dtype=curves.dtype, device=curves.device)
    above = curves - ranks / curves.shape[-1]
    return 1 + (above >= above.amax(-1, keepdim=True) - 1e-12).int().argmax(-1)


@TopKMass.picture("Teacher probability held by the k most probable classes")
def mass_by_k(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean mass of the k most probable classes against k, one curve a temperature.

    The band is the middle half of the samples, the dashed line a uniform teacher. A ring marks
    the knee, the k at which a curve stands highest above the uniform line.
    """
    require(table, "q25", "q75")
    ax = ax or new_axes(PAGE, 3.3)
    classes = int(table.k.max())
    colours = ladder_colours(table.temperature)
    found = knee_by_temperature(table)
    for temperature, rows in table.groupby("temperature"):
        rows, colour, knee = rows.sort_values("k"), colours[temperature], found[temperature]
        label = f"T = {temperature:g}: k = {knee}"
        banded_line(ax, rows.k, rows["mean"], rows.q25, rows.q75, colour, label=label)
        ring = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "markeredgewidth": 1.6}
        ax.plot([knee], rows["mean"][rows.k == knee], color=colour, linestyle="none", **ring)
    first = table[table.temperature == table.temperature.iloc[0]].sort_values("k")
    ax.plot(first.k, first.k / classes, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    ax.set_ylim(0, 1.02)
    k_axis(ax, range(1, classes + 1))
    if classes > LOGARITHMIC:
        ax.set_xlim(0.95, classes * 1.05)
    ax.set_xlabel(
        "k, the number of most probable classes\n"
        f"(line: mean; band: middle half of the samples; dashed: uniform){state_left_out(table)}"
    )
    ax.set_ylabel("teacher mass of the top k")
    side_legend(ax, "knee (ring): largest\ngap to uniform")
    return ax
