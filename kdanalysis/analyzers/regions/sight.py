"""What a teacher sees in the cells of some images (figure 17; SDD, figure 6): class, confidence."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.by_region import cells, check_cells, scale_slices
from kdanalysis.analyzers.noun import Noun, Reading
from kdanalysis.analyzers.regions.ambiguity import measures
from kdanalysis.core.regions import check_scales
from kdanalysis.draw.look import require

COLUMNS = ("sample_id", "label", "scale", "row", "column", "class", "confidence", "differs")


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
