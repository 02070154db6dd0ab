"""Modality (figure 9): how many classes auto-k counts as the teacher's top group, by true class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.noun import Reading
from kdanalysis.core.partition import AutoK
from kdanalysis.draw.look import (
    PAGE,
    VERMILION,
    Axes,
    names_in,
    new_axes,
    require,
    short,
    state_left_out,
)

ROWS = 30  # more classes than this are cut to the ends
ENDS = 12  # so many with the smallest and so many with the largest mean k
COLUMNS = 24  # more values of k than this are joined


class Modality(Analyzer):
    """Distribution, for every true class, of the k that auto-k chooses per sample.

    Args:
        num_classes: c, at least 2; the state holds c * c numbers.
        rule: GDKD's auto-k with its ratio, cap and temperature.
    """

    noun, title = "modality", "Modality"
    needs = ("teacher_logits", "target")
    made_for = ("num_classes",)

    def __init__(self, num_classes: int, rule: AutoK | None = None) -> None:
        super().__init__(num_classes=num_classes, rule=rule or AutoK())
        self.add_sum("count", num_classes, num_classes)

    def add(self, teacher: Logits, target: Labels) -> None:
        """Add the finite samples of a batch."""
        pair = target.long() * self.num_classes + self.rule.sizes(teacher)
        count = pair.bincount(minlength=self.num_classes**2)
        self.accumulate(count=count.view(self.num_classes, self.num_classes))

    def compute(self) -> dict[str, Tensor]:
        """``count`` (true class, k) for k from 0, which never occurs; ``mean`` k; ``n`` samples."""
        n = self.count.sum(-1)
        k = torch.arange(self.num_classes, dtype=n.dtype, device=n.device)
        return {
            "count": self.count.clone(),
            "mean": (self.count * k).sum(-1) / n,
            "n": n,
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns target, k, count, share (of the class's samples), n, temperature, non_finite.

        A k that no sample of the class chose has no row.
        """
        values = self.compute()
        count, n = values["count"].cpu(), values["n"].cpu()
        target, k = count.nonzero().unbind(-1)
        pairs = pd.DataFrame({"target": target.numpy(), "k": k.numpy()})
        return pairs.assign(
            count=count[target, k].long().numpy(),
            share=(count[target, k] / n[target]).numpy(),
            n=n[target].long().numpy(),
            temperature=self.rule.temperature,
            non_finite=int(values["non_finite"]),
        )


@Modality.reads(names=True)
def modality_reading(table: pd.DataFrame, names: Sequence[str] | None = None) -> Reading:
    """Whether k differs by class: smallest and largest mean k, and what the class explains.

    It does where the class explains at least 5 % of the variance of k over all samples, beyond
    what classes of a few samples each explain by chance (epsilon squared, the correlation ratio
    corrected for the number of classes).
    """
    mean, explained = mean_k(table), _explained(table)
    low, high = mean.iloc[0], mean.iloc[-1]
    number = f"mean k from {low:.2f} to {high:.2f}; {explained:.0%} by class"
    labels = names_in(table, names, "target")
    first, last = labels[mean.index[0]], labels[mean.index[-1]]
    if table.k.nunique() == 1:
        claim = (
            f"These data do not show that k differs by class: auto-k chooses {table.k.iloc[0]} for "
            f"every sample. It chooses 1 where one class stands out, and where none does."
        )
    elif explained >= 0.05:
        claim = (
            f"The k of auto-k differs by class: from {low:.1f} for {first} to {high:.1f} for "
            f"{last}; the class explains {explained:.0%} of its variance."
        )
    else:
        claim = (
            f"These data do not show that k differs by class: the class explains {explained:.1%} "
            f"of the variance of k (means from {low:.2f} to {high:.2f})."
        )
    return Reading(claim, number)


def mean_k(table: pd.DataFrame) -> pd.Series:
    """Mean k by class, smallest first; means that differ by rounding only keep the class order."""
    require(table, "target", "k", "share", "count")
    mean = (table.k * table.share).groupby(table.target).sum()
    return mean.round(12).sort_values(kind="stable")


def _explained(table: pd.DataFrame) -> float:
    """Epsilon squared of the class: 1 - variance of k inside classes / variance over samples.

    Both are unbiased estimates; 0 where k never varies, or no class has two samples.
    """
    weight, k = table["count"], table.k
    own = mean_k(table).reindex(table.target).to_numpy()
    inside = (weight * (k - own) ** 2).sum()
    total = (weight * (k - np.average(k, weights=weight)) ** 2).sum()
    n, classes = weight.sum(), table.target.nunique()
    if total <= 0 or n <= classes:
        return 0.0
    return float(max(1 - inside / (n - classes) / (total / (n - 1)), 0))


@Modality.picture("k that auto-k chooses, by true class", names=True)
def modality_by_class(
    table: pd.DataFrame, ax: Axes | None = None, names: Sequence[str] | None = None
) -> Axes:
    """Share of a class's samples by the k that auto-k chose, one row a class, sorted by mean k.

    Dots and the numbers at the right are the mean k. Of more than 30 classes only the 12 with the
    smallest and the 12 with the largest mean k are drawn; the title says so.
    """
    mean = mean_k(table)
    shown = mean if len(mean) <= ROWS else pd.concat([mean.iloc[:ENDS], mean.iloc[-ENDS:]])
    ax = ax or new_axes(PAGE, 1.2 + 0.2 * len(shown))
    labels = names_in(table, names, "target")
    edges, cells = _cells(table, list(shown.index))
    rows = np.arange(len(shown) + 1) - 0.5
    mesh = ax.pcolormesh(edges, rows, cells, cmap="Blues", vmin=0, vmax=max(cells.max(), 1e-9))
    ax.plot(shown, range(len(shown)), "o", color=VERMILION, markersize=4, label="mean k")
    _write_rows(ax, shown, [short(labels[target]) for target in shown.index])
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.09)
    bar.set_label("share of the class's samples")
    if len(shown) < len(mean):
        ax.axhline(ENDS - 0.5, color="0.3", linewidth=1, linestyle=(0, (4, 3)))
        ax.set_title(
            f"{ENDS} classes with the smallest and {ENDS} with the largest mean k, of {len(mean)}",
            loc="left",
        )
    per = "" if edges[1] - edges[0] == 1 else f", {edges[1] - edges[0]:.0f} values a cell"
    where = f" at T = {table.temperature.iloc[0]:g}"
    ax.set_xlabel(f"k chosen by auto-k per sample{where}{per} (dot: mean){state_left_out(table)}")
    return ax


def _cells(table: pd.DataFrame, targets: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Edges of k in equal cells, and the share of every class in each."""
    rows = table[table.target.isin(targets)]
    step = -(-int(rows.k.max()) // COLUMNS)
    count = -(-int(rows.k.max()) // step)
    cells = np.zeros((len(targets), count))
    place = {target: i for i, target in enumerate(targets)}
    np.add.at(
        cells, (rows.target.map(place).to_numpy(), (rows.k.to_numpy() - 1) // step), rows.share
    )
    return 0.5 + step * np.arange(count + 1), cells


def _write_rows(ax: Axes, mean: pd.Series, labels: list[str]) -> None:
    """Name the rows at the left and write their mean at the right."""
    ax.set_yticks(range(len(mean)), labels=labels, parse_math=False)
    for row, value in enumerate(mean):
        ax.annotate(
            f"{value:.1f}", (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9
        )
    ax.set_ylim(len(mean) - 0.5, -0.5)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    if ax.get_xlim()[1] < 13:
        ax.set_xticks(range(1, int(ax.get_xlim()[1]) + 1))
