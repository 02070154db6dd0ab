"""Figures of modality (figure 9): how many classes auto-k puts into the top group, by class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    PAGE,
    VERMILION,
    Axes,
    class_names,
    new_axes,
    require,
    short,
    state_left_out,
    styled,
)

ROWS = 30  # more classes than this are cut to the ends
ENDS = 12  # so many with the smallest and so many with the largest mean k
COLUMNS = 24  # more values of k than this are joined


@styled
def modality_by_class(
    table: pd.DataFrame, ax: Axes | None = None, names: Sequence[str] | None = None
) -> Axes:
    """Share of a class's samples by the k that auto-k chose, one row a class, sorted by mean k.

    Dots and the numbers at the right are the mean k. Of more than 30 classes only the 12 with the
    smallest and the 12 with the largest mean k are drawn; the title says so.

    Args:
        table: columns target, k, count, share, temperature, non_finite (``Modality``).
        ax: axes to draw on; a new figure when None.
        names: a name for every class.
    """
    mean = _mean_k(table)
    shown = mean if len(mean) <= ROWS else pd.concat([mean.iloc[:ENDS], mean.iloc[-ENDS:]])
    ax = ax or new_axes(PAGE, 1.2 + 0.2 * len(shown))
    labels = class_names(int(table.target.max()) + 1, names)
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


def modality_number(table: pd.DataFrame) -> str:
    """Smallest and largest mean k of a class, and the share of k's variance between classes."""
    mean = _mean_k(table)
    return f"mean k from {mean.min():.2f} to {mean.max():.2f}; {_explained(table):.0%} by class"


def modality_sentence(table: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """What to read: whether k differs by class.

    It does where the class explains at least 5 % of the variance of k over all samples, beyond
    what classes of a few samples each explain by chance (epsilon squared, the correlation ratio
    corrected for the number of classes).
    """
    mean = _mean_k(table)
    if table.k.nunique() == 1:
        return (
            f"These data do not show that k differs by class: auto-k chooses {table.k.iloc[0]} for "
            f"every sample. It chooses 1 where one class stands out, and where none does."
        )
    labels = class_names(int(table.target.max()) + 1, names)
    low, high = labels[mean.index[0]], labels[mean.index[-1]]
    explained = _explained(table)
    if explained >= 0.05:
        return (
            f"The k of auto-k differs by class: from {mean.iloc[0]:.1f} for {low} to "
            f"{mean.iloc[-1]:.1f} for {high}; the class explains {explained:.0%} of its variance."
        )
    return (
        f"These data do not show that k differs by class: the class explains {explained:.1%} of "
        f"the variance of k (means from {mean.iloc[0]:.2f} to {mean.iloc[-1]:.2f})."
    )


def _mean_k(table: pd.DataFrame) -> pd.Series:
    """Mean k by class, smallest first; means that differ by rounding only keep the class order."""
    require(table, "target", "k", "share", "count")
    mean = (table.k * table.share).groupby(table.target).sum()
    return mean.round(12).sort_values(kind="stable")


def _explained(table: pd.DataFrame) -> float:
    """Epsilon squared of the class: 1 - variance of k inside classes / variance over samples.

    Both are unbiased estimates; 0 where k never varies, or no class has two samples.
    """
    weight, k = table["count"], table.k
    own = _mean_k(table).reindex(table.target).to_numpy()
    inside = (weight * (k - own) ** 2).sum()
    total = (weight * (k - np.average(k, weights=weight)) ** 2).sum()
    n, classes = weight.sum(), table.target.nunique()
    if total <= 0 or n <= classes:
        return 0.0
    return float(max(1 - inside / (n - classes) / (total / (n - 1)), 0))


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
