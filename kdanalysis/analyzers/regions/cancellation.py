"""Cancellation (figure 16): how much of the cells' gradients is left in their mean."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Labels
from kdanalysis.analyzers.by_region import (
    Regional,
    RegionLoss,
    Regions,
    region_gradients,
    scale_slices,
)
from kdanalysis.analyzers.ends import with_ends
from kdanalysis.analyzers.evidence import SEEN, Interval
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.regions.ambiguity import by_image, times_told
from kdanalysis.analyzers.student_t import wide
from kdanalysis.core.wording import TIMES, grid, percent
from kdanalysis.draw.axes import time_axis
from kdanalysis.draw.colours import BLUE, GREY, VERMILION
from kdanalysis.draw.look import PAGE, Axes, Figure, new_panels, shared_legend
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.tables import require, state_left_out

SUMS = ("n", "ratio", "square", "norm", "no_gradient")
FEW = 10  # fewer images make no point of the line
PAIRS = (("clear", "ambiguous"), ("up to half", "more than half"))


class RegionCancellation(Regional):
    """Norm of the mean gradient of an image's cells over the mean of their norms.

        ratio = || mean_r g_r ||  /  mean_r || g_r ||        in [0, 1]

    g_r is the gradient of the loss of cell r in that cell's student logits, T^2 included. 1 where
    all cells pull one way, 0 where they cancel; cells of unrelated directions and equal norms give
    about 1 / m at scale m. With a linear head the global logits are the mean of the cells', so the
    ratio says how much of the cells' pull a loss on the global logits alone could carry.

    Images are told apart by how many of their cells the teacher reads otherwise than the whole
    image: none for a clear image, more for an ambiguous one.

    Args:
        loss: of one region, such as the base of an SDD; the others, and errors, as for
            ``Regional`` and ``RegionAmbiguity``.
    """

    noun, title, of_cells = "cancellation", "Cancellation of the cells' gradients", True
    needs = ("student_regions", "teacher_regions", "target")
    made_for = ("loss_of_region", "num_classes", "scales", "times")

    def __init__(
        self,
        loss: RegionLoss,
        num_classes: int,
        scales: Sequence[int] = (1, 2, 4),
        times: float | int = 1,
    ) -> None:
        super().__init__(num_classes, scales, loss=loss, times=float(times))
        self.add_sum("sums", sum(m * m + 1 for m in self.scales[1:]), len(SUMS))

    def add(self, student: Regions, teacher: Regions, target: Labels) -> None:
        """Add the finite samples of a batch."""
        gradients = region_gradients(self.loss, student.double(), teacher.double(), target.long())
        classes, start = teacher.argmax(1), 0
        places, rows = [], []
        for m, part in scale_slices(self.scales).items():
            if m > 1:
                places.append(start + (classes[:, part] != classes[:, :1]).sum(-1))
                rows.append(_rows(gradients[:, part]))
                start += m * m + 1
        self.add_rows("sums", torch.cat(places), torch.cat(rows))

    def table(self) -> pd.DataFrame:
        """Columns scale, differing, clear, n, ratio, ratio_se, norm, no_gradient, times, ...

        One row a scale and number of cells that differ from the whole image. ``ratio`` is the mean
        over the n images with a gradient, each as often as it is there, ``ratio_se`` its standard
        error, an image counted once, so that it is at most too large, NaN for fewer than two;
        ``norm`` the mean over images of the cells' mean norm. ``no_gradient`` counts images whose
        cells all have none. The last column is non_finite.
        """
        n, ratio, square, norm, none = self.sums.cpu().unbind(-1)
        mean = ratio / n
        images = n / self.times
        spread = (square / n - mean**2).clamp(min=0) * n / (n - 1) / images
        index = [(m, d, d == 0) for m in self.scales[1:] for d in range(m * m + 1)]
        frame = pd.DataFrame(index, columns=["scale", "differing", "clear"])
        return frame.assign(
            n=n.long().tolist(),
            ratio=mean.tolist(),
            ratio_se=spread.sqrt().where(images > 1, torch.nan).tolist(),
            norm=(norm / n).tolist(),
            no_gradient=none.long().tolist(),
            times=self.times,
            non_finite=int(self.non_finite),
        )


def _rows(gradients: Float[Tensor, "n r c"]) -> Float[Tensor, "n q"]:
    """Return what an image adds to ``SUMS``."""
    norm = gradients.norm(dim=-1).mean(-1)
    there = norm > 0
    ratio = gradients.mean(1).norm(dim=-1) / norm.where(there, 1.0)
    return torch.stack([there.double(), ratio, ratio**2, norm, (~there).double()], -1)


@RegionCancellation.reads()
def cancellation_reading(table: pd.DataFrame) -> Reading:
    """Whether the cells' gradients cancel more on ambiguous images than on clear.

    The difference of the mean ratios stands beside with its 95 % interval. Where fewer than 10
    images are clear, those of which up to half of the cells differ are held against the others.
    The number is the mean ratio by ambiguity at every scale.
    """
    groups = by_ambiguity(table)
    number = "; ".join(
        f"scale {row.scale}, {row.images}: {row.ratio:.3f} (n = {row.n:,.0f})"
        for row in groups[groups.n > 0].itertuples()
    )
    by_scale = groups.groupby("scale", sort=False)
    told = " ".join(_verdict(scale, rows.set_index("images")) for scale, rows in by_scale)
    return Reading(told + times_told(table), number)


def by_ambiguity(table: pd.DataFrame) -> pd.DataFrame:
    """Return scale, images, n, ratio and its standard error, for two ways to tell images apart.

    ``images`` is "clear" without a differing cell, else "ambiguous"; and "up to half" of the cells
    differing, else "more than half".
    """
    require(table, "scale", "differing", "clear", "n", "ratio", "ratio_se", number="ratio")
    rows = []
    for scale, each in table[table.n > 0].groupby("scale", sort=False):
        half = each.differing <= scale**2 / 2
        kinds = each.clear, ~each.clear, half, ~half
        names = (*PAIRS[0], *PAIRS[1])
        rows += [(scale, n, *_pooled(each[kind])) for n, kind in zip(names, kinds, strict=True)]
    return pd.DataFrame(rows, columns=["scale", "images", "n", "ratio", "ratio_se"])


def _verdict(scale: int, groups: pd.DataFrame) -> str:
    pairs = [pair for pair in PAIRS if groups.n[list(pair)].min() >= FEW]
    if not pairs:
        return f"At scale {scale} the images are too much alike, or too few, to be compared."
    clear, ambiguous = (groups.loc[name] for name in pairs[0])
    half = wide(min(clear.n, ambiguous.n)) * np.hypot(clear.ratio_se, ambiguous.ratio_se)
    less = Interval(float(clear.ratio - ambiguous.ratio), float(half))
    told = ("ambiguous images", "clear ones")
    if pairs[0] == PAIRS[1]:
        told = ("images of which more than half of the cells differ", "the others")
    claim = (
        f"the mean keeps {percent(ambiguous.ratio)} of the cells' gradient norm on {told[0]}, "
        f"{percent(clear.ratio)} on {told[1]} ({less.negated.points()})"
    )
    way = "Less" if less.negated.verdict == SEEN else "More"
    told = (less.negated if way == "Less" else less).claim
    return f"{way} cancellation where images are ambiguous {told} at scale {scale}: {claim}."


def _pooled(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Pool groups with their means and standard errors into one; NaN where there is nothing.

    What is counted are images, each once, however often it is there.
    """
    n, times = int(rows.n.sum()), rows.times.max() if "times" in rows and len(rows) else 1
    if n == 0:
        return 0.0, np.nan, np.nan
    mean = float((rows.n * rows.ratio).sum() / n)
    within = (rows.ratio_se.fillna(0.0) ** 2 * rows.n / times * (rows.n - 1)).sum()
    between = (rows.n * (rows.ratio - mean) ** 2).sum()
    images = n / times
    error = float(np.sqrt((within + between) / (n - 1) / images)) if images > 1 else np.nan
    return images, mean, error


@RegionCancellation.picture(
    "Norm of the cells' mean gradient over their mean norm, by ambiguity of the image", panels=True
)
def cancellation_by_ambiguity(table: pd.DataFrame) -> Figure:
    """Mean ratio of norms against the number of cells that differ, and how many images there are.

    A column a scale. The first point is the clear images, those without a differing cell; the band
    is the 95 % interval of the mean, and values of fewer than 10 images are not drawn. The dotted
    line is 1 / m, where cells of unrelated directions and equal norms would stand.
    """
    require(table, "scale", "differing", "clear", "n", "ratio", "ratio_se", number="ratio")
    scales = table.scale.unique().tolist()
    figure, axes = new_panels(
        2,
        len(scales),
        figsize=(PAGE, 3.4),
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=(2.2, 1),
    )
    for place, (scale, (top, bottom)) in enumerate(zip(scales, axes.T, strict=True)):
        rows = table[table.scale == scale]
        _ratios(top, by_image(rows).query("n >= @FEW"), scale)
        colours = np.where(rows.clear, BLUE, VERMILION)
        bottom.bar(rows.differing, 100 * rows.n / rows.n.sum(), color=colours, width=0.8)
        top.set_title(f"{grid(scale)} cells", loc="left")
        time_axis(bottom, rows.differing)
        if place == 0:
            top.set_ylabel("norm of the mean /\nmean of the norms")
            bottom.set_ylabel("images (%)")
    figure.supxlabel(
        f"cells in which the teacher's class is not that of the image\n"
        f"(band: 95 % interval of the mean; no mark: fewer than {FEW} images)"
        f"{state_left_out(table)}",
        fontsize="medium",
    )
    shared_legend(figure, axes[0, 0], "upper right", ncols=3)
    return figure


def _ratios(ax: Axes, rows: pd.DataFrame, scale: int) -> None:
    rows = with_ends(rows, "ratio", rows.ratio_se)
    band = (rows.ratio, rows.low, rows.high, GREY, 0.35)
    banded_line(ax, rows.differing, *band, linewidth=1, zorder=1)
    for clear, colour, label in ((True, BLUE, "clear images"), (False, VERMILION, "ambiguous")):
        some = rows[rows.clear == clear]
        ax.plot(some.differing, some.ratio, "o" if clear else "s", color=colour, label=label)
    ax.axhline(
        1 / scale,
        color=GREY,
        linestyle=":",
        linewidth=1.2,
        label=f"unrelated: 1 / m of m {TIMES} m",
    )
    ax.set_ylim(0, 1.02)
