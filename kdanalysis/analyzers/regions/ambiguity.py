"""Ambiguity: how many things a teacher sees in the cells of one image."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Labels
from kdanalysis.analyzers.by_region import Regional, Regions, scale_slices, with_means
from kdanalysis.analyzers.chance import spread_told
from kdanalysis.analyzers.ends import with_ends, with_share_ends
from kdanalysis.analyzers.evidence import difference_of_shares
from kdanalysis.analyzers.noun import Names, Reading
from kdanalysis.core.wording import grid, numeral, percent, whole_percent
from kdanalysis.draw.colours import BLACK, BLUE, GREY, VERMILION
from kdanalysis.draw.look import PAGE, Axes, Figure, fine, new_panels, top_legend
from kdanalysis.draw.names import names_in, said, short
from kdanalysis.draw.tables import require, state_left_out

MEANS = ("entropy", "differing", "divergence", "clear")
ERROR = "entropy_se"  # tables made before lack it
TEACHER = {"right": BLUE, "wrong": VERMILION}
MOST = 8  # classes drawn at either end
IMAGES = 10  # groups of fewer are not compared, nor their classes named or drawn beside larger


class RegionAmbiguity(Regional):
    """How much the teacher's cells disagree with each other and with the whole image.

    Per image and scale m > 1, with the classes of the largest logits in its m^2 cells:

    - ``entropy``: of the distribution of these classes, in nats: 0 where all cells name one class,
      at most log of m^2 where each names another;
    - ``differing``: share of cells that name another class than the whole image;
    - ``divergence``: mean over cells of KL(cell || whole image) at T = 1, in nats;
    - ``clear``: whether no cell names another class.

    Arguments and errors as for ``Regional``, but for ``times``: how often an image is there, as in
    several epochs; of a row's image on average.
    """

    noun, title, of_cells = "ambiguity", "Ambiguity of the images", True
    needs = ("teacher_regions", "target")
    made_for = ("num_classes", "scales", "times")

    def __init__(
        self, num_classes: int, scales: Sequence[int] = (1, 2, 4), times: float | int = 1
    ) -> None:
        super().__init__(num_classes, scales, times=float(times))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """One row a class, whether the teacher is wrong, and a scale."""
        return {"sums": (self.num_classes, 2, len(self.scales) - 1, 2 + len(MEANS))}

    def add(self, teacher: Regions, target: Labels) -> None:
        """Add the finite samples of a batch."""
        teacher, label = teacher.double(), target.long()
        parts = [s for m, s in scale_slices(self.scales).items() if m > 1]
        found = torch.stack([measures(teacher, part) for part in parts], 1)  # (n, scales, means)
        rows = torch.cat([torch.ones_like(found[..., :1]), found, found[..., :1] ** 2], -1)
        wrong = teacher[..., 0].argmax(1) != label
        scales = torch.arange(len(parts), device=label.device)
        place = (2 * label + wrong).unsqueeze(-1) * len(parts) + scales
        self.add_rows("sums", place, rows.flatten(0, 1))

    def table(self) -> pd.DataFrame:
        """Columns part, teacher, class, scale, n, entropy, differing, divergence, clear, ...

        ``part`` is "teacher", over all classes by whether the teacher is right, wrong, or "all",
        or "class", by true class over all images. Means over images, NaN where there is none; n
        counts an image as often as it is there, ``times`` on average; ``entropy_se``, the standard
        error of the entropy, counts it once. The last column is non_finite.
        """
        sums = self.sums.cpu()
        scales = self.scales[1:]
        of_teacher = torch.cat([sums.sum(0), sums.sum((0, 1)).unsqueeze(0)])
        index = [("teacher", t, pd.NA, m) for t in (*TEACHER, "all") for m in scales]
        index += [("class", "all", c, m) for c in range(self.num_classes) for m in scales]
        rows = torch.cat([of_teacher.flatten(0, 1), sums.sum(1).flatten(0, 1)])
        frame = pd.DataFrame(index, columns=["part", "teacher", "class", "scale"])
        frame = with_means(frame.astype({"class": "Int64"}), rows, (*MEANS, "square"))
        images = frame.n / self.times
        spread = (frame.pop("square") - frame.entropy**2).clip(lower=0)
        error = (spread / (images - 1).where(images > 1)) ** 0.5
        frame = frame.assign(**{ERROR: error})
        return frame.assign(times=self.times, non_finite=int(self.non_finite))


def measures(teacher: Float[Tensor, "n c r"], part: slice) -> Float[Tensor, "n q"]:
    """Return ``MEANS`` of every image for the cells of one scale."""
    classes = teacher.argmax(1)
    local, whole = classes[:, part], classes[:, :1]
    alike = (local.unsqueeze(-1) == local.unsqueeze(-2)).double().mean(-1)
    differing = (local != whole).double()
    log_p = teacher.log_softmax(1)
    cell, image = log_p[..., part], log_p[..., :1]
    return torch.stack(
        [
            -alike.log().mean(-1),
            differing.mean(-1),
            (cell.exp() * (cell - image)).sum(1).mean(-1),
            (differing.sum(-1) == 0).double(),
        ],
        -1,
    )


@RegionAmbiguity.reads(names=True)
def ambiguity_reading(table: pd.DataFrame, names: Names = None) -> Reading:
    """How much of a teacher's image is ambiguous, and where it is more so.

    Images that the teacher gets right and wrong are compared where there are 10 of either, and so
    are classes; the cells of an image, however often it is there, count as one. The number is the
    means over all images at every scale.
    """
    require(table, "part", "teacher", "scale", "entropy", "differing", "clear", number="entropy")
    table = by_image(table)
    of_teacher = table[table.part == "teacher"]
    whole = of_teacher[of_teacher.teacher == "all"]
    number = "; ".join(
        f"scale {row.scale}: {percent(row.differing)} of the cells differ, "
        f"{percent(row.clear)} of the images are clear, entropy {row.entropy:.3f} nats, "
        f"divergence {row.divergence:.3f} nats"
        for row in whole.itertuples()
    )
    fine = whole.iloc[-1]
    told = (
        f"At scale {fine.scale}, {percent(fine.differing)} of the cells name another class than "
        f"the whole image, and {percent(fine.clear)} of the images are clear; the entropy of "
        f"the cells' classes is {fine.entropy:.2f} nats of at most {np.log(fine.scale**2):.2f}."
    )
    rows = of_teacher[(of_teacher.scale == fine.scale) & (of_teacher.n >= IMAGES)]
    differing = rows.set_index("teacher").differing
    if TEACHER.keys() <= set(differing.index):
        n = rows.set_index("teacher").n
        more = difference_of_shares(differing["wrong"], n["wrong"], differing["right"], n["right"])
        told += (
            f" That images which the teacher gets wrong are more ambiguous {more.claim}: "
            f"{percent(differing['wrong'])} of their cells differ, "
            f"{percent(differing['right'])} where it is right ({more.points()})."
        )
    ranked = _ranked(table)
    if len(ranked) < 2 or ranked.n.min() < IMAGES:
        return Reading(told + times_told(table), number)
    labels = names_in(table, names)
    of = [said(labels[int(place)]) for place in ranked["class"]]
    classes = spread_told(of, ranked.differing, ranked.n)
    told = f"{told} Whether that share differs by class: {classes}."
    return Reading(told + times_told(table), number)


def times_told(table: pd.DataFrame) -> str:
    """Say that an image that is there several times, as in several epochs, counts once."""
    times = float(table.times.max()) if "times" in table else 1.0
    told = f" A row's image is there {numeral(times, 2)} times on average, and counts once."
    return told if times > 1 else ""


def by_image(table: pd.DataFrame) -> pd.DataFrame:
    """Let n count images once, however often they are there."""
    return table.assign(n=table.n / table.times) if "times" in table else table


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Classes of 10 images or more at the finest scale, clearest first; all where few have them."""
    rows = table[(table.part == "class") & (table.scale == table.scale.max()) & (table.n > 0)]
    rows = rows.sort_values("entropy", kind="stable")
    large = rows[rows.n >= IMAGES]
    return large if len(large) > 1 else rows


@RegionAmbiguity.picture(
    "Cells that differ from the image, and how many classes an image's cells name",
    names=True,
    panels=True,
)
def ambiguity_by_class(table: pd.DataFrame, names: Names = None) -> Figure:
    """Share of differing cells where the teacher is right and wrong; entropy of the classes.

    Left, the mean share of cells that name another class than the whole image, with the share of
    clear images written above the bar. Right, the mean entropy of the cells' classes at the finest
    scale, of the 8 classes with the least and the 8 with the most. Lines are 95 % intervals over
    images, those of shares (Wilson's) at most too wide.
    """
    require(table, "part", "teacher", "class", "scale", "n", "entropy", number="entropy")
    figure, (left, right) = new_panels(1, 2, figsize=(PAGE, 4.2), width_ratios=(1, 1.15))
    _teachers(left, table[table.part == "teacher"])
    _classes(right, table, names)
    left.set_ylabel(
        f"cells that differ from the image (%)\n(line: 95 % interval){state_left_out(table)}"
    )
    return figure


def _teachers(ax: Axes, rows: pd.DataFrame) -> None:
    scales = list(rows.scale.unique())
    for place, (teacher, colour) in enumerate(TEACHER.items()):
        some = rows[rows.teacher == teacher].set_index("scale").loc[scales]
        label = f"teacher {teacher} (n = {int(some.n.iloc[0]):,})"
        at = np.arange(len(scales)) + 0.4 * (place - 0.5)
        ax.bar(at, 100 * some.differing, width=0.38, color=colour, label=label)
        ends = with_share_ends(by_image(some), "differing")
        ax.vlines(at, 100 * ends.low, 100 * ends.high, color=BLACK, linewidth=1.4)
        for x, row in zip(at, ends.itertuples(), strict=True):
            if row.n > 0:
                ax.annotate(f"{whole_percent(row.clear)}\nclear", (x, 100 * row.high), (0, 2),
                            textcoords="offset points", ha="center", fontsize=fine())  # fmt: skip
    ax.set_xticks(range(len(scales)), labels=[f"{grid(m)} cells" for m in scales])
    ax.set_ylim(0, 115)
    ax.set_yticks(range(0, 101, 20))
    top_legend(ax, 1)


def _classes(ax: Axes, table: pd.DataFrame, names: Names) -> None:
    ranked = _ranked(table)
    some = ranked if len(ranked) <= 2 * MOST else pd.concat([ranked[:MOST], ranked[-MOST:]])
    if ERROR in some:
        ends = with_ends(by_image(some), "entropy", some[ERROR])
        ax.hlines(range(len(some)), ends.low, ends.high, color=BLUE, linewidth=1.6)
    labels = names_in(table, names)
    texts = [short(labels[int(place)], 22, labels) for place in some["class"]]
    ax.hlines(range(len(some)), 0, some.entropy, color=GREY, linewidth=1)
    ax.plot(some.entropy, range(len(some)), "o", color=BLUE)
    ax.set_yticks(range(len(some)), labels=texts, parse_math=False)
    ax.tick_params(axis="y", labelsize=fine(), length=0)
    if len(ranked) > len(some):
        ax.axhline(MOST - 0.5, color=GREY, linestyle=":", linewidth=1.2)
    scale, least, most = int(table.scale.max()), some.n.min(), some.n.max()
    ax.set_xlim(0)
    sizes = "no" if some.empty else " to ".join(dict.fromkeys(f"{n:.0f}" for n in (least, most)))
    lines = ";\nblue line: 95 % interval" * (ERROR in some)
    ax.set_xlabel(
        f"entropy of {grid(scale)} cells' classes\n"
        f"(nats, at most {np.log(scale**2):.2f}; {sizes} images a class{lines})"
    )
    ax.invert_yaxis()


@RegionAmbiguity.shortens
def teacher_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The means by what the teacher says of the image, without those by class."""
    return table[table.part == "teacher"].drop(columns=["part", "class"])
