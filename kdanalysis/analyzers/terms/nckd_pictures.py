"""NCKD by confidence drawn (figure 6): where the term is large, and students taught with it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdanalysis.analyzers.evidence import mean_of
from kdanalysis.analyzers.terms.confidence import short_confidence
from kdanalysis.analyzers.terms.nckd import QUANTITIES, NCKDByConfidence, half_shares, part_rows
from kdanalysis.draw.look import (
    DASHES,
    FAINT,
    GREY,
    PAGE,
    Axes,
    Figure,
    few_ticks,
    new_panels,
    short,
    side_legend,
    state_left_out,
    term_colour,
)


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
            text = name if np.isnan(share) else f"{name}: {share:.0%}"
            look = {"color": colour, "linestyle": dash, "marker": marker}
            ax.plot(rows.place, rows[prefix + quantity], label=text, **look)
        _shade(ax)
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


def _shade(ax: Axes) -> None:
    ax.axvspan(5.5, 10.4, color=FAINT, alpha=0.25, linewidth=0, zorder=0)
    ax.axvline(5.5, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xlim(0.6, 10.4)


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
    names = [short(name, 24) for name in accuracy]
    ax.set_yticks(range(len(names)), labels=names, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    few_ticks(ax.xaxis, 5)
    ax.set_xlabel("accuracy of students (%; ring: a seed, line: 95 % interval of the mean)")
