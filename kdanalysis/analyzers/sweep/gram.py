"""Gram matrices of the terms' gradients for every k and T: all that an explorer needs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Logits
from kdanalysis.analyzers.chunks import chunks, in_parallel
from kdanalysis.analyzers.noun import Tables
from kdanalysis.analyzers.sweep.sweep import TermSweep, rows_at
from kdanalysis.analyzers.targets import Targets
from kdanalysis.core.sweep.stacked import INNER, SQUARES, WITH_KD, stacked, with_cross_entropy
from kdanalysis.draw.axes import k_axis
from kdanalysis.draw.colours import GREY, loss_colours
from kdanalysis.draw.look import PAGE, Figure, new_panels, plain_log, shared_legend, styled
from kdanalysis.draw.names import short
from kdanalysis.losses import CrossEntropy

MOST_KS = 100  # of a page
CE = ("inner_ce_high", "inner_ce_low_top", "inner_ce_low_other", "inner_ce_kd")
PRODUCTS = (*SQUARES, *INNER, *WITH_KD)


class TermGram(TermSweep):
    """The sweep, and the mean inner products of the gradients of high, low_top, low_other, ce, kd.

    Inner products of the per-sample gradients in the student's logits, unweighted, T^2 included
    (cross-entropy is at T = 1), mean over samples. ``gram`` has them by T and k: any weighted sum
    of the terms has its norm, its cosine to kd and its shares in them, of all samples laid end to
    end (see ``core.sweep.stacked``). Products with ce are NaN unless every sample has a label, or a
    distribution as its target.

    Arguments as for ``TermSweep``.
    """

    takes, mixed = ("target", "soft_target"), True

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.add_sum("labelled")
        self.add_sum("with_ce", len(self.temperatures), len(CE), len(self.ks))
        self.add_sum("square_ce")

    def add(self, student: Logits, teacher: Logits, targets: Targets) -> None:
        """Add the finite samples of a batch, and their cross-entropy where they have targets."""
        super().add(student, teacher)
        rows, target = targets.seen_by(CrossEntropy())
        if rows is not None:
            student, teacher = student[rows], teacher[rows]
        self.accumulate(labelled=torch.tensor(len(target)))
        parts = chunks(student, teacher, target) if len(target) else []
        for sums, square in in_parallel(self._with_cross_entropy, parts, teacher.device):
            self.accumulate(with_ce=sums, square_ce=square)

    @torch.no_grad()
    def _with_cross_entropy(self, sides: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return with_cross_entropy(*sides, self.temperatures, self.ks)

    def gram(self) -> pd.DataFrame:
        """One row a (temperature, k): square_*, inner_* and n; low_top and low_other have none."""
        means = self.means()
        there = self.n if self.labelled == self.n else torch.nan
        values = {name: means[name] for name in PRODUCTS}
        values |= dict(zip(CE, (self.with_ce / there).unbind(1), strict=True))
        values["square_ce"] = (self.square_ce / there).expand_as(values["square_kd"])
        index = pd.MultiIndex.from_product((self.temperatures, self.ks), names=["temperature", "k"])
        columns = {name: value.flatten().tolist() for name, value in values.items()}
        return pd.DataFrame(columns, index).reset_index().assign(n=int(self.n))


def page_ks(num_classes: int) -> tuple[int, ...]:
    """Return every k up to 100 of them, else 100 or a few less, ever further apart."""
    if num_classes - 1 <= MOST_KS:
        return tuple(range(1, num_classes))
    found = np.unique(np.geomspace(1, num_classes - 1, 2 * MOST_KS).round().astype(int))
    near = found[: MOST_KS // 2]
    far = np.geomspace(near[-1], num_classes - 1, MOST_KS // 2 + 1).round().astype(int)
    return tuple(np.unique((*near, *far)).tolist())


@styled
def explored_over_k(
    grams: Tables,
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
        cosines.plot(rows.k, found["cosine_batch_total_kd"], label=short(run, 24, grams), **look)
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
