"""What a teacher sees in the cells of some images (figure 17; SDD, figure 6): class, confidence."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from kdanalysis.analyzers.by_region import cells, check_cells, scale_slices
from kdanalysis.analyzers.noun import Names, Noun, Reading
from kdanalysis.analyzers.regions.ambiguity import measures
from kdanalysis.core.regions import check_scales
from kdanalysis.core.wording import grid, whole_percent
from kdanalysis.draw.colours import FAINT, INK, ORANGE, VERMILION
from kdanalysis.draw.look import NARROW, Axes, Figure, fine, new_figure, styled
from kdanalysis.draw.names import class_names, short
from kdanalysis.draw.tables import require

COLUMNS = ("sample_id", "label", "scale", "row", "column", "class", "confidence", "differs")
WIDTH, HEIGHT = NARROW, 5.6  # inches, as all below
UPPER = 0.48  # from the paper's upper edge to the image and the finer cells
PLACES = ((0.1, 2.95, 1.9), (2.3, UPPER, 3.8))  # left and upper edge, width: coarser, finer cells
BAR = 0.34  # height of the bar below a cell
GAP = 0.03  # of a cell, between two of them
WRITTEN = 4  # at finer scales no name fits below a cell


class Sight(Noun):
    """What a teacher sees: a table of few images, with a picture of each (``sight_of_image``)."""

    noun, title = "sight", "What a region sees"


def sight_table(
    teacher_regions: Float[Tensor, "n c r"],
    target: Int[Tensor, " n"],
    sample_id: Int[Tensor, " n"],
    scales: Sequence[int] = (1, 2, 4),
) -> pd.DataFrame:
    """Return columns sample_id, label, scale, row, column, class, confidence, differs.

    One row an image and cell. ``class`` is that of the cell's largest logit, ``confidence`` its
    probability there at T = 1, and ``differs`` tells whether the whole image's class is another.
    """
    p = teacher_regions.double().softmax(1)
    confidence, classes = p.max(1)
    rows = [
        (int(i), int(y), *cell)
        for i, y in zip(sample_id, target, strict=True)
        for cell in cells(check_scales(scales))
    ]
    frame = pd.DataFrame(rows, columns=["sample_id", "label", "scale", "row", "column"])
    return frame.assign(
        **{"class": classes.flatten().tolist()},
        confidence=confidence.flatten().tolist(),
        differs=(classes != classes[:, :1]).flatten().tolist(),
    )


def image_entropy(
    teacher_regions: Float[Tensor, "n c r"], scales: Sequence[int] = (1, 2, 4)
) -> Float[Tensor, " n"]:
    """Return the entropy of the classes of every image's finest cells, in nats.

    Raises:
        ValueError: there are no cells to compare.
    """
    scales = check_scales(scales)
    check_cells(scales)
    return measures(teacher_regions.double(), scale_slices(scales)[scales[-1]])[:, 0]


def spread_places(entropy: Float[Tensor, " n"], count: int) -> list[int]:
    """Return the places of ``count`` images from the clearest to the most ambiguous, evenly ranked.

    Equal entropies are ranked by their place, so that nobody chooses; NaN is left out.
    """
    ranked = entropy.argsort(stable=True)[: int(entropy.isfinite().sum())]
    steps = torch.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().long()
    return ranked[steps].tolist()


@Sight.reads()
def sight_reading(table: pd.DataFrame) -> Reading:
    """Whether local classes differ from the global one in these images; how many cells, by image.

    At the finest scale.
    """
    require(table, *COLUMNS)
    finest = table[table.scale == table.scale.max()]
    each = finest.groupby("sample_id", sort=False)
    counts = zip(each.differs.sum().items(), each.differs.size(), strict=True)
    number = "; ".join(f"sample {i}: {some} of {of} cells differ" for (i, some), of in counts)
    kinds, scale = each["class"].nunique(), int(finest.scale.iloc[0])
    told = (
        f"In {int(each.differs.any().sum())} of these {each.ngroups} images a cell of scale "
        f"{scale} names another class than the whole image; their cells name {kinds.min()} to "
        f"{kinds.max()} classes."
    )
    right = finest[finest["class"] == finest.label]
    alone = right[right.differs].sample_id.nunique()
    if alone:
        told += f" In {alone} of them a cell names the label and the whole image is read otherwise."
    return Reading(told, number)


@styled
def sight_of_image(
    table: pd.DataFrame,
    image: UInt8[np.ndarray, "h w 3"],
    sample_id: int,
    names: Names = None,
) -> Figure:
    """One image, then its cells at two scales, each with the teacher's class in a bar below it.

    The first picture is the image, its label above and the teacher's class below. The others are
    the cells as they are, apart from each other; the bar holds the class and the teacher's
    probability of it. Cells that name another class than the whole image have a coloured outline
    and bar. Two scales are drawn, the finest of up to 4 x 4 cells and the one before.

    Args:
        table: as ``sight_table`` gives it.
        image: its pixels, height by width.
        sample_id: of the image.
        names: a name for every class.

    Raises:
        ValueError: the table has no row of this image, or no scale in whose cells a name fits.
    """
    require(table, *COLUMNS)
    rows = table[table.sample_id == sample_id]
    if rows.empty:
        raise ValueError(f"the table has no sample {sample_id}")
    labels = class_names(int(max(table["class"].max(), table.label.max())) + 1, names)
    scales = drawn_scales(rows.scale.unique().tolist())
    if not scales:
        raise ValueError(f"there is no scale from 2 to {WRITTEN}, below whose cells a name fits")
    figure = new_figure(WIDTH, HEIGHT, layout=None)
    _plain(_axes(figure, 0.1, UPPER, 1.5, 1.5), image, rows, labels)
    for scale, (left, top, side) in zip(scales, PLACES[-len(scales) :], strict=True):
        of_scale = rows[rows.scale == scale]
        high = side + scale * BAR
        _cells(_axes(figure, left, top, side, high), image, of_scale, BAR * scale / side, labels)
    return figure


def drawn_scales(scales: Sequence[int]) -> list[int]:
    """Return the two finest scales below whose cells a name fits; none where there is no such."""
    return [scale for scale in scales if 1 < scale <= WRITTEN][-2:]


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes, in inches from the left and the upper edge of the paper."""
    bottom = HEIGHT - top - height
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))


def _plain(
    ax: Axes, image: UInt8[np.ndarray, "h w 3"], rows: pd.DataFrame, labels: list[str]
) -> None:
    whole = rows[rows.scale == 1].iloc[0]
    ax.imshow(image, interpolation="nearest")
    ax.set_title(f"label:\n{short(labels[whole.label], 20)}", loc="left", parse_math=False)
    read = f"{short(labels[whole['class']], 22)}\n{whole_percent(whole.confidence)}"
    ax.set_xlabel(f"the teacher reads:\n{read}", parse_math=False, loc="left")
    _bare(ax)


def _cells(
    ax: Axes,
    image: UInt8[np.ndarray, "h w 3"],
    rows: pd.DataFrame,
    bar: float,
    labels: list[str],
) -> None:
    """Draw the cells of one scale; ``bar`` is the height of a bar, where a cell's side is 1."""
    from matplotlib.patches import Rectangle

    scale, step = int(rows.scale.iloc[0]), 1 + bar
    edges = [np.linspace(0, size, scale + 1).round().astype(int) for size in image.shape[:2]]
    for (_, row), differs in zip(rows.iterrows(), rows.differs, strict=True):
        i, j = int(row["row"]), int(row["column"])
        crop = image[edges[0][i] : edges[0][i + 1], edges[1][j] : edges[1][j + 1]]
        left, top, side = j + GAP, i * step + GAP, 1 - 2 * GAP
        ax.imshow(crop, interpolation="nearest", extent=(left, left + side, top + side, top))
        colour, width = (VERMILION, 2.2) if differs else (FAINT, 1.0)
        frame = {"edgecolor": colour, "linewidth": width}
        ax.add_patch(Rectangle((left, top), side, side, fill=False, **frame))
        ground = ORANGE if differs else FAINT
        ax.add_patch(Rectangle((left, top + side), side, bar - GAP, facecolor=ground, **frame))
        ax.text(
            j + 0.5,
            top + side + (bar - GAP) / 2,
            f"{short(labels[row['class']], 11)}\n{whole_percent(row.confidence)}",
            ha="center",
            va="center",
            fontsize=fine(),
            color=INK,
            linespacing=0.95,
            parse_math=False,
        )
    ax.set_xlim(0, scale)
    ax.set_ylim(scale * step, 0)
    ax.set_title(f"{grid(scale)} cells", loc="left")
    _bare(ax)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
