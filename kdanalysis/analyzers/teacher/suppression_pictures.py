"""Pictures of suppression (figure 5): how near to 0 a teacher's 1 - p is."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.noun import Tables
from kdanalysis.analyzers.teacher.suppression import (
    Suppression,
    comparable,
    digits,
    distinct,
    join_teachers,
    prefix,
)
from kdanalysis.core.wording import MINUS, REST
from kdanalysis.draw.colours import DASHES, FAINT, TEACHER, loss_colours
from kdanalysis.draw.look import PAGE, Axes, new_axes, side_legend
from kdanalysis.draw.marks import shares_up_to
from kdanalysis.draw.names import short
from kdanalysis.draw.tables import state_left_out

CAPTION = f"{REST}, KD's factor on the non-target term"
LOW, HIGH = -13.8, 9.2  # log odds of 1e-6 and .9999, the same on all figures
MARKS = (1e-6, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.99)


@Suppression.picture(CAPTION)
def suppression_by_teacher(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of samples whose 1 - p is at most this, a colour a teacher, the training's T bold.

    The axis is even in the log odds of 1 - p, so that .001 and .01 are as far apart as .99 and
    .999; the legend holds the means.

    Args:
        table: as ``Suppression.table`` gives it; with several teachers a column ``name`` tells
            them apart (``join_teachers``). p is the label's, where all teachers have labels.
        ax: axes to draw on; a new figure when None.
    """
    rows, what = comparable(table)
    ax = ax or new_axes(PAGE, 3.2)
    own = float(rows.distilled.iloc[0])
    ladder = sorted(rows.temperature.unique(), key=lambda t: (t != own, t))
    colours = loss_colours(rows.name) | {"": TEACHER}
    for (name, temperature), part in rows.groupby(["name", "temperature"], sort=False):
        mean = digits(part["mean"].iloc[0])
        place = ladder.index(temperature)
        shares_up_to(
            ax,
            part.low_log_odds,
            part.high_log_odds,
            part.share,
            (LOW - 1, HIGH + 1),
            color=colours[name],
            linestyle=DASHES[place % len(DASHES)],
            linewidth=2.4 if place == 0 else 1.4,
            label=f"{prefix(short(name, 14, colours))}T = {temperature:g}: {mean}",
        )
    ax.axhline(50, color=FAINT, linewidth=1, zorder=0)
    ax.set_xlim(LOW, HIGH)
    ax.set_ylim(0, 100)
    ax.set_xticks(
        [float(np.log(mark) - np.log1p(-mark)) for mark in MARKS],
        labels=[f"{mark:g}".replace("e-0", f"e{MINUS}") for mark in MARKS],
    )
    ax.set_ylabel("samples up to here (%)")
    ax.set_xlabel(f"{REST} {what}{state_left_out(table)}")
    side_legend(ax, f"mean of {REST}\n(bold: distils, T = {own:g})")
    return ax


@Suppression.picture(CAPTION, of_all=True)
def suppression_of_teachers(tables: Tables, ax: Axes | None = None) -> Axes:
    """The same figure for several teachers, by name; one that all share is drawn once."""
    apart = distinct(tables)
    if len(apart) == 1 < len(tables):
        return suppression_by_teacher(next(iter(apart.values())), ax)
    return suppression_by_teacher(join_teachers(apart), ax)
