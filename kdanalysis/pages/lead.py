"""The first screen: three lines of verdict, accuracy with its interval, cosine against step."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil, isnan, nan
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdanalysis.analyzers.evidence import Interval
from kdanalysis.analyzers.noun import Picture
from kdanalysis.analyzers.terms.direction_reading import (
    NO_GRADIENT,
    against_first,
    is_silent,
    measured,
)
from kdanalysis.core.wording import matched, written
from kdanalysis.draw.beside import names_beside
from kdanalysis.draw.colours import GREY, MARKERS, loss_colours
from kdanalysis.draw.look import Axes, new_axes, styled
from kdanalysis.draw.names import short
from kdanalysis.pages.accuracies import (
    accuracies_at_the_end,
    accuracy_line,
    accuracy_of_networks,
    where_of,
)
from kdanalysis.pages.explorer import WEIGHTS, Explorer
from kdanalysis.pages.html import Shown

Tables = Mapping[str, pd.DataFrame]


class Lead(NamedTuple):
    """What a reader sees first; ``runs`` are the students that the picker tells apart."""

    verdict: Sequence[str]
    figures: Sequence[Shown] = ()
    runs: Sequence[str] = ()


def direction_line(tables: Tables) -> str:
    """Say how gradients lie to the first loss's, over runs, with the widest 95 % interval."""
    rows = pd.concat(rows_of(tables), ignore_index=True)
    told = []
    for loss, part in rows.groupby("loss_b", sort=False):
        found = [measured(row) for row in part.itertuples()]
        cosine, step = (spread([one[i] for one in found], digits) for i, digits in ((0, 2), (2, 1)))
        told.append(f"{loss} cosine {cosine}, {step} times as far")
    where = f"mean over samples{of_students(len(tables), told)}"
    return f"Against {rows.loss_a.iloc[0]}'s gradient, {where}: {'; '.join(told)}."


def of_students(count: int, told: Sequence[str]) -> str:
    """Say what the ends of a span of :func:`spread` are, where there is one."""
    said = f", from the least to the largest of {count} students"
    return said if any(" to " in one for one in told) else ""


def spread(values: Sequence[Interval], digits: int) -> str:
    """Write the least and the largest value, or one where they are written alike; the interval."""
    half = float(np.max([one.half for one in values]))  # NaN where one is
    spec, _ = matched(f"z.{digits}f", 0.0, half)
    ends = dict.fromkeys(written(end(x.value for x in values), spec) for end in (min, max))
    span = " to ".join(ends)
    if isnan(half) or len(ends) == 1:
        return span if isnan(half) else f"{span} ± {written(half, spec)}"
    most = ceil(half * 10 ** int(spec[-2]) - 1e-9) / 10 ** int(spec[-2])
    return f"{span} (± {written(most, spec)} or less)"


@styled
def cosine_against_step(tables: Tables, ax: Axes | None = None) -> Axes:
    """One dot a loss and run: cosine to the first loss across, norm over that of the first upwards.

    Colour and mark are the loss, whose name is tied to the dot of the first run; runs have none.

    Args:
        tables: of ``LossDirection`` by run.
        ax: axes to draw on; a figure of its own if None.
    """
    from matplotlib.ticker import LogLocator

    ax = ax or new_axes(5.2, 2.9)
    rows = pd.concat(rows_of(tables))
    first, rows = rows.loss_a.iloc[0], rows[rows.multiplier > 0]
    names = list(dict.fromkeys(rows.loss_b))
    colours, places = loss_colours([first, *names]), []
    for place, (_, dots) in enumerate(rows.groupby("loss_b", sort=False)):
        look = {"color": colours[names[place]], "marker": MARKERS[place % len(MARKERS)]}
        ax.plot(dots.cosine, dots.multiplier, linestyle="none", markersize=7, **look)
        places.append((dots.cosine.iloc[0], dots.multiplier.iloc[0]))
    ax.plot(1, 1, marker="+", markersize=10, markeredgewidth=2, color=colours[first])
    ax.axhline(1, color=GREY, linewidth=1, zorder=0)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.margins(y=0.15)
    ax.set_xlim(min(-0.05, *ax.get_xlim()), 1.08)
    each = " (a dot a student)" if len(tables) > 1 else ""
    ax.set_xlabel(f"mean cosine to {first}{each}", parse_math=False)
    ax.set_ylabel(f"mean norm over that of {first}", parse_math=False)
    texts = [short(name, 24, colours) for name in (*names, first)]
    names_beside(ax, texts, [*places, (1.0, 1.0)])
    return ax


def rows_of(tables: Tables) -> list[pd.DataFrame]:
    """Return the rows of the other losses against the first one, by run."""
    return [against_first(table) for table in tables.values()]


def weight_line(explorer: Explorer) -> str:
    """Say how GDKD turns and steps with every weight 1, and with the paper's: split from weight."""
    told = []
    for weights in ((1.0, 1.0, 1.0), tuple(WEIGHTS.values())):
        found = [explorer.at(run, weights) for run in explorer.grams]
        cosine, step = ([Interval(one[i], nan) for one in found] for i in (0, 1))
        text = "/".join(f"{w:g}" for w in weights)
        told.append(f"{text} cosine {spread(cosine, 2)}, {spread(step, 1)} times as far")
    where = f"T = {explorer.temperature:g} and k = {explorer.k}"
    return (
        f"GDKD against KD at {where}, all samples' gradients laid end to end"
        f"{of_students(len(explorer.grams), told)}, by weights of high, low_top and low_other: "
        f"{'; '.join(told)}."
    )


def lead_of(
    parts: Mapping[str, Tables],
    explorer: Explorer | None = None,
    accuracies: pd.DataFrame | None = None,
    where: str = "",
    runs: Sequence[str] = (),
    errors: pd.DataFrame | None = None,
) -> Lead:
    """Return the first screen from the tables by noun, then by run: what of it they allow.

    Args:
        parts: tables; direction and agreement are looked at.
        explorer: of the same runs.
        accuracies: columns network, accuracy, n; of the agreement at the end if None.
        where: over which samples they are.
        runs: names of the students.
        errors: of differences of their accuracies, as for ``accuracy_line``.
    """
    table = "students" if accuracies is not None else "agreement"
    if accuracies is None and "agreement" in parts:
        accuracies = accuracies_at_the_end(parts["agreement"])
        where = where_of(parts["agreement"])
    verdict, figures = [], []
    if accuracies is not None and len(accuracies) > 1:
        verdict.append(accuracy_line(accuracies, where, errors))
        caption, draw = "Accuracy of teacher and students", Picture("", accuracy_of_networks).figure
        figures.append(Shown(caption, partial(draw, accuracies), "accuracy", table))
    told = parts.get("direction", {})
    if silent := [run for run, table in told.items() if is_silent(table)]:
        verdict.append(f"{', '.join(filter(None, silent)) or 'No direction'}: {NO_GRADIENT}.")
    if told := {run: table for run, table in told.items() if run not in silent}:
        verdict.append(direction_line(told))
        first = next(iter(told.values())).loss_a.iloc[0]
        caption = f"How the losses' gradients lie to {first}'s: cosine against step"
        draw = Picture("", cosine_against_step).figure
        figures.append(Shown(caption, partial(draw, told), "cosine_against_step", "direction"))
    if explorer is not None:
        verdict.append(weight_line(explorer))
    return Lead(verdict, figures, runs)
