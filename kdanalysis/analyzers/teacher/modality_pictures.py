"""Modality drawn (figure 9): peaks and effective classes, one row a true class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdanalysis.analyzers.teacher.modality import COUNTED, PEAK, Modality, by_class, check_table
from kdanalysis.draw.look import (
    BLUE,
    FAINT,
    GREY,
    PAGE,
    SKY,
    Figure,
    names_in,
    new_panels,
    shared_legend,
    short,
    state_left_out,
)
from kdanalysis.draw.marks import stacked_bars

ROWS = 30  # more classes than this are cut to the ends
ENDS = 12  # so many with the fewest and so many with the most samples of several peaks
LOOKS = {"peaks_1": (FAINT, "1"), "peaks_2": (SKY, "2"), "peaks_more": (BLUE, "3 or more")}


@Modality.picture("Peaks and effective classes, by true class", names=True, panels=True)
def modality_by_class(table: pd.DataFrame, names: Sequence[str] | None = None) -> Figure:
    """Left the samples by their number of peaks, right the quartiles of exp(entropy); by class.

    Sorted by the samples with several peaks. Of more than 30 classes only the 12 with the fewest
    and the 12 with the most are drawn; the title says so.
    """
    whole, rows = check_table(table), by_class(table)
    shown = rows if len(rows) <= ROWS else pd.concat([rows.iloc[:ENDS], rows.iloc[-ENDS:]])
    size = (PAGE, 1.5 + 0.24 * len(shown))
    figure, (left, right) = new_panels(1, 2, figsize=size, sharey=True, width_ratios=(1.5, 1))
    start, places = np.zeros(len(shown)), range(len(shown))
    for name in COUNTED:
        width = 100 * shown[name].to_numpy()
        colour, label = LOOKS[name]
        stacked_bars(left, places, width, start, 0.78, colour, label=label)
        start = start + width
    right.hlines(places, shown.modes_q25, shown.modes_q75, color=GREY, linewidth=2.5)
    right.plot(shown.modes_median, places, "o", color=BLUE, markersize=5)
    right.axvline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    labels = names_in(table.dropna(subset="target"), names, "target")
    left.set_yticks(places, labels=[short(labels[int(c)]) for c in shown.target], parse_math=False)
    left.set_ylim(len(shown) - 0.5, -0.5)
    left.set_xlim(0, 100)
    left.set_xlabel(f"samples (%) by number of peaks\n(p ≥ {PEAK:g} max p){state_left_out(table)}")
    right.set_xlabel("exp(entropy): median,\nline: middle half")
    shared_legend(figure, left, "upper left", ncols=3, title="peaks")
    title = f"T = {whole.temperature:.3g}, of least NLL"
    if len(shown) < len(rows):
        left.axhline(ENDS - 0.5, color="0.3", linewidth=1, linestyle=(0, (4, 3)))
        title += f"\n{ENDS} classes at either end, of {len(rows)}"
    right.set_title(title, loc="left")
    for ax in (left, right):
        ax.tick_params(axis="y", length=0)
    return figure
