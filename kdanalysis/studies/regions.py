"""The tables of regions: of two networks over images, or of a file of region logits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from kdanalysis.analyzers import load_nouns
from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.regions.sight import image_entropy, sight_table, spread_places
from kdanalysis.analyzers.setting import Setting
from kdanalysis.capture import read_regions
from kdanalysis.core.regions import check_scales, count_regions
from kdanalysis.losses import Loss
from kdanalysis.studies.compute import Batches, feed

REGIONS = ("anatomy", "ambiguity", "cancellation", "uptake")  # in which order they are shown


def tables_of_networks(
    images: Any,
    num_classes: int,
    teacher: nn.Module,
    student: nn.Module | None,
    loss: Loss,
    scales: Sequence[int] = (1, 2, 4),
    shown: int = 6,
    batches: Iterable[Sequence[Tensor]] = (),
) -> dict[str, pd.DataFrame]:
    """Read the regions of images once; return every table that they allow.

    Without a student there are only the tables of the teacher. ``sight`` is of as many images as
    asked for, from the clearest to the most ambiguous in even ranks, so that nobody chooses them.

    Args:
        images: what ``DataSplits.valid`` is.
        num_classes: of the data.
        teacher: on the device where it computes.
        student: likewise.
        loss: of one region.
        scales: of the regions.
        shown: how many images to show; 0 where no scale has cells in which a name can stand.
        batches: of the images.

    Raises:
        ValueError: as ``read_regions``, a teacher alone at a single scale, or a loss that these
            classes do not fit.
    """
    entropy: list[Tensor] = []
    regions = read_regions(batches, teacher, student, scales)
    if shown:
        regions = _noting(regions, scales, entropy)
    tables = region_tables(regions, student is not None, loss, num_classes, scales)
    if entropy:
        ids = torch.tensor(spread_places(torch.cat(entropy), shown))
        labels = torch.from_numpy(images.labels)[ids]
        pixels = images.normalise(images.pixels[ids])
        (batch,) = read_regions([(pixels, labels, ids)], teacher, None, scales)
        found = torch.from_numpy(batch["teacher_regions"])
        tables["sight"] = sight_table(found, labels, ids, scales)
    return tables


def tables_of_file(
    regions: Any, loss: Loss, scales: Sequence[int], batches: Batches
) -> dict[str, pd.DataFrame]:
    """Read the regions of a file once; return every table that its columns allow.

    Args:
        regions: what ``load_regions`` returns.
        loss: of one region.
        scales: of the regions.
        batches: of the file.

    Raises:
        ValueError: other scales than the file's, or as :func:`tables_of_networks`.
    """
    if regions.num_regions != count_regions(check_scales(scales)):
        raise ValueError(
            f"{regions.path} holds {regions.num_regions} regions, the scales {tuple(scales)} have "
            f"{count_regions(scales)}: give those it was made with"
        )
    student = "student_regions" in regions.columns
    return region_tables(batches, student, loss, regions.num_classes, scales)


def region_tables(
    batches: Batches, student: bool, loss: Loss, num_classes: int, scales: Sequence[int]
) -> dict[str, pd.DataFrame]:
    """Feed the analyzers of regions that need no student, or all of them; return their tables.

    Raises:
        ValueError: a teacher alone at a single scale, or a loss that the classes do not fit.
    """
    sides = {"teacher_regions", "target"} | ({"student_regions"} if student else set())
    setting = Setting(num_classes, region_loss=loss, scales=check_scales(scales))
    known = {n: k for n, k in load_nouns().items() if issubclass(k, Analyzer)}
    names = [n for n in known if known[n].kind == "regions" and known[n].of_runs]
    names.sort(key=lambda name: REGIONS.index(name) if name in REGIONS else len(REGIONS))
    made = {name: known[name].for_setting(setting) for name in names}
    able = {name: one for name, one in made.items() if one and {*one.needs} <= sides}
    if not able:
        raise ValueError("a teacher's whole images have no cells to compare: give another scale")
    feed(batches, able.values())
    return {name: one.table() for name, one in able.items()}


def _noting(batches: Batches, scales: Sequence[int], entropy: list[Tensor]) -> Iterator[Mapping]:
    """Note the entropy of every image as the batches pass: one number an image."""
    for batch in batches:
        entropy.append(image_entropy(torch.from_numpy(batch["teacher_regions"]), scales))
        yield batch
