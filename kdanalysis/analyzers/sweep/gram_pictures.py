"""Picture of the Gram matrices: cosine to KD and step over k, one line a run."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from kdanalysis.analyzers.sweep.sweep import rows_at
from kdanalysis.core.sweep.stacked import stacked
from kdanalysis.draw.axes import k_axis
from kdanalysis.draw.colours import loss_colours
from kdanalysis.draw.look import (
    GREY,
    PAGE,
    Figure,
    new_panels,
    plain_log,
    shared_legend,
    short,
    styled,
)


@styled
def explored_over_k(
    grams: Mapping[str, pd.DataFrame],
    temperature: float | int,
    weights: Sequence[float | int] = (1.0, 1.0, 8.0),
) -> Figure:
    """Two panels over k, a line a run: cosine to KD at the same T, and norm over that of KD.

    Of all samples' gradients laid end to end.

    Args:
        grams: as ``TermGram.gram`` gives them, by run.
        temperature: one of the tables'.
        weights: of high, low_top and low_other.
    """
    figure, (cosines, steps) = new_panels(1, 2, figsize=(PAGE, 2.8), sharex=True)
    colours = loss_colours(grams)
    for run, table in grams.items():
        rows, _ = rows_at(table, "temperature", temperature)
        means = {
            name: torch.tensor(rows[name].to_numpy())
            for name in rows
            if name.startswith(("square_", "inner_"))
        }
        found = stacked(means, weights)
        look = {"color": colours[run], "marker": "o" if len(rows) < 20 else None}
        cosines.plot(rows.k, found["cosine_batch_total_kd"], label=short(run, 24), **look)
        steps.plot(rows.k, found["rms_total"] / found["rms_kd"], **look)
    cosines.set_ylabel("cosine to KD")
    steps.set_ylabel("norm over that of KD")
    steps.axhline(1, color=GREY, linewidth=1, zorder=0)
    plain_log(steps)
    for ax in (cosines, steps):
        ax.set_xlabel("k")
        k_axis(ax, rows.k)
    if len(grams) > 1:
        shared_legend(figure, cosines, "upper left", ncols=4)
    return figure
