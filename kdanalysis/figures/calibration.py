"""Figures of calibration against temperature (figure 22): does the T that distils calibrate?"""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdanalysis.figures.style import (
    CYCLE,
    DASHES,
    GREY,
    PAGE,
    require,
    side_legend,
    state_left_out,
    styled,
)

SCORES = {"ece": "ECE", "nll": "NLL (nats)", "brier": "Brier score"}
APART = 2**0.5  # temperatures within this factor count as the same: two steps of the ladder


class Least(NamedTuple):
    """Where a score is least: the temperature, the score, and whether the ladder ends there."""

    temperature: float
    value: float
    end: bool

    def __str__(self) -> str:
        beyond = ("≤ " if self.temperature < 1 else "≥ ") if self.end else ""
        return f"{beyond}{self.temperature:.3g}"


@styled
def calibration_over_temperature(table: pd.DataFrame) -> Figure:
    """ECE, NLL and Brier score against T, a panel each; rings mark the least value.

    The dotted line is the T that distils, the dashed one T = 1.

    Args:
        table: as ``Calibration.table`` gives it; with several networks a column ``network`` tells
            them apart, a line each.
    """
    networks = by_network(table)
    figure, axes = plt.subplots(3, 1, figsize=(PAGE, 6.0), layout="constrained", sharex=True)
    for ax, (score, label) in zip(axes, SCORES.items(), strict=True):
        for place, (name, scores) in enumerate(networks.items()):
            found = least(scores, score)
            text = f"{name}: {found}" if name else f"T = {found}"
            look = {"color": CYCLE[place % len(CYCLE)], "linestyle": DASHES[place % len(DASHES)]}
            ax.plot(scores.index, scores[score], label=text, **look)
            ring = {"marker": "o", "markersize": 7, "markerfacecolor": "none"}
            ax.plot([found.temperature], [found.value], color=look["color"], **ring)
        ax.axvline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        ax.axvline(table.distilled.iloc[0], color=GREY, linewidth=1.4, linestyle=":", zorder=0)
        ax.set_ylabel(label)
        if score == "ece":
            ax.set_ylim(0)
        side_legend(ax, "least (ring) at T" if any(networks) else "least (ring) at")
    _lay_out(axes[-1], table)
    return figure


def calibration_number(table: pd.DataFrame) -> str:
    """The T of least NLL and of least ECE, and both scores there, at T = 1 and at distillation."""
    scores = one_network(table)
    distilled = _distilled(table)
    parts = []
    for score, label in (("nll", "NLL"), ("ece", "ECE")):
        there = [t for t in (1.0, distilled) if t in scores.index]
        listed = "".join(f", {scores[score][t]:.3f} at T = {t:g}" for t in dict.fromkeys(there))
        found = least(scores, score)
        parts.append(f"{label} least at T = {found}: {found.value:.3f}{listed}")
    return "; ".join(parts)


def calibration_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the T that distils is another than the T that calibrates.

    It is where both NLL and ECE are least at a T that is more than a factor of 1.41 from the one
    that distils.
    """
    scores, distilled = one_network(table), _distilled(table)
    found = {score: least(scores, score) for score in ("nll", "ece")}
    claim = (
        f"NLL is least at T = {found['nll']}, ECE at T = {found['ece']}; ECE is "
        f"{scores.ece.min():.3f} there and {scores.ece[distilled]:.3f} at T = {distilled:g}, where "
        f"the mean confidence is {scores.confidence[distilled]:.2f} and the accuracy "
        f"{scores.accuracy[distilled]:.2f}"
    )
    apart = [abs(np.log(one.temperature / distilled)) > np.log(APART) for one in found.values()]
    if all(apart):
        return f"The T that distils ({distilled:g}) is not the T that calibrates: {claim}."
    return (
        f"These data do not show that the T that distils ({distilled:g}) differs from the T that "
        f"calibrates: {claim}."
    )


def least(scores: pd.DataFrame, score: str) -> Least:
    """Where a score is least; for NLL and Brier score refined between the ladder's temperatures.

    These two are smooth in log T, so that the vertex of the parabola through the lowest point and
    its neighbours is within a percent of the minimum on the usual ladder. ECE jumps as samples
    change bins: its T is one of the ladder.

    Args:
        scores: one row a temperature, which is the index, ascending.
        score: ece, nll or brier.
    """
    place = int(np.argmin(scores[score]))
    point = float(scores.index[place]), float(scores[score].iloc[place])
    end = place in (0, len(scores) - 1)
    if end or score == "ece":
        return Least(*point, end)
    near = scores[score].iloc[place - 1 : place + 2]
    away = np.log(near.index.to_numpy(float) / point[0])
    square, slope, value = np.polyfit(away, near.to_numpy(), 2)
    vertex = -slope / (2 * square)
    return Least(float(point[0] * np.exp(vertex)), float(value + slope * vertex / 2), end)


def by_network(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Scores, mean confidence and accuracy by temperature, of every network."""
    bins = ("temperature", "count", "confidence", "accuracy")
    require(table, *bins, *SCORES, "n", "distilled", number="nll")
    groups = table.groupby("network", sort=False) if "network" in table else [("", table)]
    return {str(name): _scores(rows) for name, rows in groups}


def one_network(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of the table's only network.

    Raises:
        ValueError: there are several.
    """
    networks = by_network(table)
    if len(networks) > 1:
        raise ValueError(f"the table holds {list(networks)}: give the rows of one network")
    return next(iter(networks.values()))


def _scores(rows: pd.DataFrame) -> pd.DataFrame:
    weighted = rows[["confidence", "accuracy"]].mul(rows["count"] / rows.n, axis=0)
    mean = weighted.groupby(rows.temperature).sum()
    return mean.join(rows.groupby("temperature")[list(SCORES)].first()).sort_index()


def _distilled(table: pd.DataFrame) -> float:
    return float(table.distilled.iloc[0])


def _lay_out(ax: Axes, table: pd.DataFrame) -> None:
    distilled = _distilled(table)
    low, high = table.temperature.min(), table.temperature.max()
    octaves = [2.0**i for i in range(-10, 11) if low <= 2.0**i <= high]
    marks = [t for t in octaves if abs(np.log(t / distilled)) > 0.3 or t == distilled]
    ax.set_xscale("log")
    ax.set_xticks(sorted({*marks, distilled}))
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel(
        f"temperature T (dotted: distils, T = {distilled:g}; dashed: T = 1){state_left_out(table)}"
    )
