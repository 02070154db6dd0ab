"""regions: what a teacher sees in the cells of images, and a student with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from kdanalysis.analyzers.noun import Names, Picture
from kdanalysis.analyzers.regions.sight import drawn_scales, sight_of_image
from kdanalysis.core.arguments import typed
from kdanalysis.data import DataSplits, load_data
from kdanalysis.draw.names import class_names, short
from kdanalysis.losses import Loss, parse_loss, spelled
from kdanalysis.pages.given import called, is_network, network_of
from kdanalysis.pages.html import Section
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.study import Study
from kdanalysis.studies.facts import stated
from kdanalysis.studies.opening import open_regions
from kdanalysis.studies.regions import tables_of_file, tables_of_networks

CHOSEN = (
    "From the clearest image to the most ambiguous, in even ranks of the entropy of the cells' "
    "classes; framed cells name another class than the image."
)
TITLE = "What is seen in the regions of images"


@typed
def regions(
    teacher: str | Path | nn.Module | Mapping[str, Any],
    data: str | DataSplits | None = None,
    student: str | Path | nn.Module | None = None,
    *,
    loss: str | Loss = "kd",
    scales: Sequence[int] = (1, 2, 4),
    images: int = 6,
    batch_size: int = 250,
    device: torch.device | str = "cpu",
    watch: Callable[[Iterable, str, int], Iterable] = lambda batches, label, total: batches,
) -> Study:
    """Look at what a teacher sees in the regions of images, without training.

    With a student also what a loss on the regions (SDD, arXiv 2403.13512) would teach it: loss and
    gradient of every case, cancellation, and whether the student says in a cell what its teacher
    says there.

    Args:
        teacher: a network, a checkpoint that ``train`` wrote, or region logits in a file or as
            arrays by name: teacher_regions (n, c, r), target and perhaps student_regions.
        data: whose validation images are looked at, as ``load_data`` takes it or gives it; None
            with a file of region logits.
        student: a network or a checkpoint.
        loss: of one region.
        scales: m x m cells for each m, rising from 1.
        images: how many to show with their cells.
        batch_size: images looked at together.
        device: where to compute.
        watch: wraps batches with a label and the number of images, for a progress bar.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a network without images or a file with them, other scales than the file's, or
            as ``read_regions``.
    """
    base = parse_loss(loss) if isinstance(loss, str) else loss
    network = is_network(teacher)
    if network != (data is not None) or (student is not None and not network):
        raise ValueError(
            f"{called(teacher)}: a checkpoint needs data with its images, a file of region logits "
            f"needs neither data nor a student"
        )
    if not network:
        return _of_file(open_regions(teacher), base, scales, batch_size, watch)
    splits = load_data(data) if isinstance(data, str) else data
    networks = [None if x is None else network_of(x, splits, device) for x in (teacher, student)]
    batches = watch(splits.valid.batches(batch_size), "Looking", len(splits.valid))
    shown = images if drawn_scales(scales) else 0
    tables = tables_of_networks(
        splits.valid, len(splits.classes), *networks, base, scales, shown, batches
    )
    return _study(_facts(teacher, student, splits, scales, base), tables, splits)


def _facts(
    teacher: Any, student: Any, data: DataSplits, scales: Sequence[int], loss: Loss
) -> dict[str, object]:
    return {
        "teacher": called(teacher),
        "student": None if student is None else called(student),
        "data": data.name,
        "validation images": f"{len(data.valid):,}",
        "scales": ", ".join(map(str, scales)),
        "loss of a region": None if student is None else spelled(loss),
    }


def _of_file(
    found: Any, loss: Loss, scales: Sequence[int], batch_size: int, watch: Callable
) -> Study:
    batches = watch(found.batches(batch_size), "Reading", found.num_rows)
    tables = tables_of_file(found, loss, scales, batches)
    facts = {
        "regions": str(found.path),
        "images": f"{found.num_rows:,}",
        "classes": found.num_classes,
        "scales": ", ".join(map(str, scales)),
        "loss of a region": spelled(loss) if "student_regions" in found.columns else None,
    }
    return _study(facts, tables, None, found.classes)


def _study(
    facts: dict, tables: dict[str, pd.DataFrame], data: DataSplits | None, names: Names = None
) -> Study:
    classes = names if data is None else data.classes
    sight = sight_pictures(tables["sight"], data) if "sight" in tables else []

    def sections() -> list[Section]:
        return [
            sight_section(table, sight, classes)
            if noun == "sight"
            else noun_section(noun, {"": table}, classes)
            for noun, table in tables.items()
        ]

    parts = {noun: {"": table} for noun, table in tables.items()}
    pictures = {"sight": sight} if sight else {}
    return Study(TITLE, stated(facts), parts, sections, classes, pictures=pictures)


def sight_pictures(table: pd.DataFrame, data: DataSplits) -> list[Picture]:
    """Return a picture of every validation image in the table."""
    names, pictures = class_names(len(data.classes), data.classes), []
    for sample_id, rows in table.groupby("sample_id", sort=False):
        pixels = data.valid[int(sample_id)][0].permute(1, 2, 0).numpy()
        draw = partial(sight_of_image, image=pixels, sample_id=int(sample_id))
        what = short(names[int(rows.label.iloc[0])], 40)
        caption = f"Validation image {sample_id}, {what}"
        pictures.append(Picture(caption, draw, True, True, name=f"sight_{sample_id}"))
    return pictures


def sight_section(
    table: pd.DataFrame, pictures: Sequence[Picture], classes: Sequence[str]
) -> Section:
    """Return the section with a picture of every image in the table."""
    names = class_names(len(classes), classes)
    shown = noun_section("sight", {"": table}, classes, pictures=pictures)
    text = f"{shown.text} {CHOSEN}"
    captions = [("Table sight", table.assign(label=[names[int(label)] for label in table.label]))]
    return replace(shown, text=text, tables=captions)
