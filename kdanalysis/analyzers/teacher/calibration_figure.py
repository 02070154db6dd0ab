"""Figures of calibration against temperature (figure 22): does the T that distils calibrate?"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    CYCLE,
    DASHES,
    GREY,
    PAGE,
    Axes,
    Figure,
    new_panels,
    require,
    side_legend,
    state_left_out,
    styled,
)

SCORES = {"ece": "ECE", "nll": "NLL (nats)", "brier": "Brier score"}


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
    figure, axes = new_panels(3, 1, figsize=(PAGE, 6.0), sharex=True)
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


def calibration_of_networks(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The same figure for several networks, by name, a line each."""
    return calibration_over_temperature(join_networks(tables))


def join_networks(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of several networks as one, their names in a column ``network``.

    A network without a finite sample is left out.

    Raises:
        ValueError: that is all of them.
    """
    known = [t.assign(network=name) for name, t in tables.items() if t.nll.notna().any()]
    if not known:
        raise ValueError(f"the table has no value of 'nll' for any of {list(tables)}")
    return pd.concat(known, ignore_index=True)


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


def scores_by_temperature(rows: pd.DataFrame) -> pd.DataFrame:
    """ECE, NLL, Brier score, mean confidence and accuracy of one network, a row a temperature."""
    scores = _scores(rows)
    return scores[[*SCORES, "confidence", "accuracy"]].reset_index()


def _scores(rows: pd.DataFrame) -> pd.DataFrame:
    weighted = rows[["confidence", "accuracy"]].mul(rows["count"] / rows.n, axis=0)
    mean = weighted.groupby(rows.temperature).sum(min_count=1)
    return mean.join(rows.groupby("temperature")[list(SCORES)].first()).sort_index()


def _lay_out(ax: Axes, table: pd.DataFrame) -> None:
    distilled = float(table.distilled.iloc[0])
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
