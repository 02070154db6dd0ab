"""Pictures of calibration (figure 22): reliability diagrams, and the scores over temperature."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdanalysis.analyzers.noun import Tables
from kdanalysis.analyzers.teacher.calibration import (
    SCORES,
    Calibration,
    by_network,
    join_networks,
    least,
    one_network,
)
from kdanalysis.core.wording import numeral
from kdanalysis.draw.axes import log_axis
from kdanalysis.draw.colours import BLUE, DASHES, FAINT, GREY, TEACHER, VERMILION, loss_colours
from kdanalysis.draw.look import PAGE, Axes, Figure, new_panels, side_legend
from kdanalysis.draw.names import short
from kdanalysis.draw.tables import state_left_out

FEW = 20  # samples of a bin: the accuracy of fewer is chance to .1 and more
DIAGRAMS = "Accuracy against confidence"
CURVES = "Calibration error and NLL over the temperature"
DRAWN = ("ece", "nll")


@Calibration.picture(DIAGRAMS, panels=True)
def reliability_by_confidence(
    table: pd.DataFrame, temperatures: Sequence[float | int] | None = None
) -> Figure:
    """One column a temperature: accuracy by confidence bin above, samples by bin below.

    Bars are the accuracy, dots stand at a bin's mean confidence and accuracy, hollow ones for bins
    of fewer than 20 samples; the line from the dot to the diagonal is the gap that ECE averages.

    Args:
        table: one network's, as ``Calibration.table`` gives it.
        temperatures: which to draw; T = 1, the one of the ladder next to the least NLL and the one
            that distils unless given.
    """
    scores, distilled = one_network(table), float(table.distilled.iloc[0])
    notes = {float(scores.nll.idxmin()): ["near least NLL"]}
    notes[distilled] = [*notes.get(distilled, []), "distils"]
    usual = [t for t in dict.fromkeys((1.0, *notes)) if t in scores.index]
    chosen = usual if temperatures is None else list(temperatures)
    if absent := [t for t in chosen if t not in scores.index]:
        raise ValueError(f"the table has no temperature {absent[0]:g}, it has {list(scores.index)}")
    panels = []
    for t in chosen:
        note = f" ({', '.join(notes[t])})" if t in notes else ""
        panels.append((f"T = {numeral(t)}{note}", table[table.temperature == t]))
    return _panels(panels, state_left_out(table))


@Calibration.picture(DIAGRAMS, of_all=True, panels=True)
def reliability_of_networks(tables: Tables, temperature: float | int = 1.0) -> Figure:
    """The same for several networks at one temperature, up to four in a row.

    Args:
        tables: by name, as ``Calibration.table`` gives them.
        temperature: at which the networks are read.
    """
    joined = join_networks(tables)
    rows = joined[joined.temperature == temperature]
    if rows.empty:
        ladder = sorted(joined.temperature.unique())
        raise ValueError(f"the tables have no temperature {temperature:g}, they have {ladder}")
    parts = dict(iter(rows.groupby("network", sort=False)))
    panels = [(short(name, 24, parts), part) for name, part in parts.items()]
    return _panels(panels, f"\n(all at T = {temperature:g}){state_left_out(joined)}")


def _panels(panels: Sequence[tuple[str, pd.DataFrame]], note: str) -> Figure:
    """One diagram with the histogram below it for every (title, rows)."""
    columns = 4 if len(panels) == 4 else min(len(panels), 3)
    bands = -(-len(panels) // columns)
    size = (5.7, 3.0) if columns == 4 else (max(PAGE * columns / 3, 3.6), 0.3 + 3.6 * bands)
    figure, axes = new_panels(
        2 * bands,
        columns,
        figsize=size,
        squeeze=False,
        sharex=True,
        height_ratios=(2.4, 1) * bands,
    )
    pairs = [axes[2 * band : 2 * band + 2, c] for band in range(bands) for c in range(columns)]
    tallest = max(float((rows["count"] / rows.n).max()) for _, rows in panels)
    for place, ((above, below), (title, rows)) in enumerate(zip(pairs, panels, strict=False)):
        _diagram(above, rows)
        _histogram(below, rows)
        above.set_title(f"{title}\nECE {rows.ece.iloc[0]:.3f}", loc="left", parse_math=False)
        below.set_ylim(0, 108 * tallest)
        below.tick_params(labelbottom=True)
        first = place % columns == 0
        for ax, label in ((above, "accuracy"), (below, "samples (%)")):
            ax.set_ylabel(label if first else "")
            ax.tick_params(labelleft=first)
    for ax in np.ravel(pairs[len(panels) :]):
        ax.remove()
    figure.supxlabel(
        f"confidence, max p\n(dot: mean of the bin, hollow below {FEW} samples; orange: gap){note}",
        fontsize="medium",
    )
    return figure


def _diagram(ax: Axes, rows: pd.DataFrame) -> None:
    seen = rows[rows["count"] > 0]
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.bar(seen.low, seen.accuracy, seen.high - seen.low, align="edge", color=FAINT, zorder=0)
    ax.vlines(seen.confidence, seen.confidence, seen.accuracy, color=VERMILION, linewidth=1.8)
    for few, dots in seen.groupby(seen["count"] < FEW):
        fill = "white" if few else BLUE
        look = {"markersize": 4, "markerfacecolor": fill, "clip_on": False, "zorder": 3}
        ax.plot(dots.confidence, dots.accuracy, "o", color=BLUE, **look)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)


def _histogram(ax: Axes, rows: pd.DataFrame) -> None:
    share = 100 * rows["count"] / rows.n
    ax.bar(rows.low, share, rows.high - rows.low, align="edge", color=BLUE)
    ax.set_xticks([0, 0.5, 1], labels=["0", "0.5", "1"])


@Calibration.picture(CURVES, panels=True)
def calibration_over_temperature(table: pd.DataFrame) -> Figure:
    """ECE and NLL against T, a panel each; rings mark the least value.

    The dotted line is the T that distils, the dashed one T = 1.

    Args:
        table: as ``Calibration.table`` gives it; with several networks a column ``network`` tells
            them apart, a line each.
    """
    networks, distilled = by_network(table), float(table.distilled.iloc[0])
    colours = loss_colours(networks) | {"": TEACHER}
    figure, axes = new_panels(2, 1, figsize=(PAGE, 4.2), sharex=True)
    for ax, score in zip(axes, DRAWN, strict=True):
        for place, (name, scores) in enumerate(networks.items()):
            found = least(scores, score)
            text = f"{name}: {found}" if name else found.at
            look = {"color": colours[name], "linestyle": DASHES[place % len(DASHES)]}
            ax.plot(scores.index, scores[score], label=text, **look)
            ring = {"marker": "o", "markersize": 7, "markerfacecolor": "none"}
            ax.plot([found.temperature], [found.value], color=look["color"], **ring)
        ax.axvline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        ax.axvline(distilled, color=GREY, linewidth=1.4, linestyle=":", zorder=0)
        ax.set_ylabel(SCORES[score])
        if score == "ece":
            ax.set_ylim(0)
        side_legend(ax, "least (ring) at T" if any(networks) else "least (ring) at")
    low, high = table.temperature.min(), table.temperature.max()
    octaves = [2.0**i for i in range(-10, 11) if low <= 2.0**i <= high]
    apart = [t for t in octaves if abs(np.log(t / distilled)) > 0.3]
    log_axis(axes[-1], sorted([*apart, distilled]))
    axes[-1].set_xlabel(
        f"temperature T (dotted: distils, T = {distilled:g}; dashed: T = 1){state_left_out(table)}"
    )
    return figure


@Calibration.picture(CURVES, of_all=True, panels=True)
def calibration_of_networks(tables: Tables) -> Figure:
    """The same figure for several networks, by name, a line each."""
    return calibration_over_temperature(join_networks(tables))
