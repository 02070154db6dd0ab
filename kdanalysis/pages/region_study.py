"""The page of two networks' regions: their tables, and pictures of what the teacher sees."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.analyzers.regions.sight import image_entropy, sight_table, spread_places
from kdanalysis.analyzers.regions.sight_figure import (
    drawn_scales,
    sight_number,
    sight_of_image,
    sight_sentence,
)
from kdanalysis.capture import read_regions
from kdanalysis.core.regions import check_scales, count_regions
from kdanalysis.data import DataSplits
from kdanalysis.data.images import Images
from kdanalysis.draw.look import class_names, short
from kdanalysis.losses import Loss
from kdanalysis.pages.facts import stated
from kdanalysis.pages.html import Section
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.page import Page
from kdanalysis.studies.region_tables import region_analyzer, region_tables
from kdanalysis.studies.stream import Batches, feed, needed_columns

Watch = Callable[[Iterable], Iterable]


def study_regions(
    data: DataSplits,
    teacher: nn.Module,
    student: nn.Module | None,
    loss: Loss,
    scales: Sequence[int] = (1, 2, 4),
    images: int = 6,
    batch_size: int = 250,
    watch: Watch = iter,
) -> dict[str, pd.DataFrame]:
    """Read the regions of the validation images once; return every table that they allow.

    Without a student there are only the tables of the teacher. ``sight`` is of as many images as
    asked for, from the clearest to the most ambiguous in even ranks, so that nobody chooses them.

    Args:
        data: the images.
        teacher: on the device where it computes.
        student: likewise.
        loss: of one region.
        scales: of the regions.
        images: how many to show; none where no scale has cells in which a name can stand.
        batch_size: images looked at together.
        watch: wraps the batches of images, for a progress bar.

    Raises:
        ValueError: as ``read_regions``, a teacher alone at a single scale, or a loss that these
            classes do not fit.
    """
    entropy: list[Tensor] = []
    batches = read_regions(watch(data.valid.batches(batch_size)), teacher, student, scales)
    if images and drawn_scales(scales):
        batches = _noting(batches, scales, entropy)
    tables = region_frames(batches, student is not None, loss, len(data.classes), scales)
    if entropy:
        places = spread_places(torch.cat(entropy), images)
        tables["sight"] = _sight(data.valid, places, teacher, scales)
    return tables


def study_file(
    regions: Any,
    loss: Loss,
    scales: Sequence[int] = (1, 2, 4),
    batch_size: int = 250,
    watch: Watch = iter,
) -> dict[str, pd.DataFrame]:
    """Read the regions of a file once; return every table that its columns allow.

    Args:
        regions: what ``load_regions`` returns.
        loss: of one region.
        scales: of the regions.
        batch_size: images looked at together.
        watch: wraps the batches, for a progress bar.

    Raises:
        ValueError: other scales than the file's, or as ``study_regions``.
    """
    if regions.num_regions != count_regions(check_scales(scales)):
        raise ValueError(
            f"{regions.path} holds {regions.num_regions} regions, the scales {tuple(scales)} have "
            f"{count_regions(scales)}: give those it was made with"
        )
    student = "student_regions" in regions.columns
    batches = watch(regions.batches(batch_size))
    return region_frames(batches, student, loss, regions.num_classes, scales)


def region_frames(
    batches: Batches, student: bool, loss: Loss, num_classes: int, scales: Sequence[int]
) -> dict[str, pd.DataFrame]:
    """Feed the analyzers of regions that need no student, or all of them; return their tables.

    Raises:
        ValueError: a teacher alone at a single scale, or a loss that the classes do not fit.
    """
    sides = {"teacher_regions", "target"} | ({"student_regions"} if student else set())
    made = {n: region_analyzer(n, loss, num_classes, scales) for n in region_tables(scales)}
    able = {name: one for name, one in made.items() if needed_columns(one)[0] <= sides}
    if not able:
        raise ValueError("a teacher's whole images have no cells to compare: give another scale")
    feed(batches, able.values())
    return {name: one.table() for name, one in able.items()}


def regions_page(
    title: str,
    facts: Mapping[str, object],
    tables: Mapping[str, pd.DataFrame],
    data: DataSplits | None = None,
) -> Page:
    """Return the page of the tables, with pictures of the validation images in ``sight``."""
    classes = None if data is None else data.classes
    sections = [
        sight_section(table, data) if noun == "sight" else noun_section(noun, {"": table}, classes)
        for noun, table in tables.items()
    ]
    return Page(title, stated(facts), sections, dict(tables))


def sight_section(table: pd.DataFrame, data: DataSplits) -> Section:
    """Return the section with a picture of every image in the table."""
    names, figures = class_names(len(data.classes), data.classes), []
    for sample_id, rows in table.groupby("sample_id", sort=False):
        pixels = data.valid[int(sample_id)][0].permute(1, 2, 0).numpy()
        figure = sight_of_image(table, pixels, int(sample_id), data.classes)
        what = short(names[int(rows.label.iloc[0])], 40)
        figures.append((f"Validation image {sample_id}, {what}", figure))
    text = (
        f"{sight_sentence(table)} From the clearest image to the most ambiguous, in even ranks of "
        f"the entropy of the cells' classes; framed cells name another class than the image."
    )
    captions = [("Table sight", table.assign(label=_named(table.label, names)))]
    return Section("sight", "What a region sees", text, sight_number(table), figures, captions)


def _noting(batches: Batches, scales: Sequence[int], entropy: list[Tensor]) -> Iterator[Mapping]:
    """Note the entropy of every image as the batches pass: one number an image."""
    for batch in batches:
        entropy.append(image_entropy(torch.from_numpy(batch["teacher_regions"]), scales))
        yield batch


def _sight(
    images: Images, places: Sequence[int], teacher: nn.Module, scales: Sequence[int]
) -> pd.DataFrame:
    ids = torch.tensor(places)
    pixels: Float[Tensor, "n 3 h w"] = images.normalise(images.pixels[ids])
    labels = torch.from_numpy(images.labels)[ids]
    (batch,) = read_regions([(pixels, labels, ids)], teacher, None, scales)
    return sight_table(torch.from_numpy(batch["teacher_regions"]), labels, ids, scales)


def _named(labels: pd.Series, names: Sequence[str]) -> list[str]:
    return [names[int(label)] for label in labels]
