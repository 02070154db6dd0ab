"""ladder: the stepping stones between a student and its teacher, both trained already."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from kdanalysis.core.arguments import typed
from kdanalysis.core.device import as_device
from kdanalysis.data import DataSplits, load_data
from kdanalysis.losses import Blockwise, Loss, parse_loss, spelled
from kdanalysis.pages.given import called, network_of
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.study import Study
from kdanalysis.stones import Ladder, fit_connectors
from kdanalysis.studies.facts import stated
from kdanalysis.studies.ladder import ladder_tables

BATCH = 250


@typed
def ladder(
    student: str | Path | nn.Module,
    teacher: str | Path | nn.Module | None,
    data: str | DataSplits,
    *,
    loss: str | Loss = "kd",
    student_blocks: Sequence[str] | None = None,
    teacher_blocks: Sequence[str] | None = None,
    strength: float = 1e-3,
    temperature: float = 1.0,
    fit_images: int = 4000,
    batch_size: int = BATCH,
    seed: int = 0,
    device: torch.device | str = "cpu",
    watch: Callable[[Iterable, str, int], Iterable] = lambda batches, label, total: batches,
) -> Study:
    """Look at the stepping stones between a student and its teacher (arXiv 2411.01547).

    Connectors are fitted on training images by ridge regression; what the stones say, and what
    each would send into the student's blocks, is read off the validation images.

    Args:
        student: a network, or a checkpoint that ``train`` wrote; or a :class:`Ladder` with
            connectors of its own, of which nothing is fitted.
        teacher: likewise; None beside a ladder.
        data: the images, as ``load_data`` takes them or gives them.
        loss: base of the loss whose gradients are taken.
        student_blocks: names, in the order they run; as for ``Ladder``.
        teacher_blocks: as many.
        strength: of the ridge regression, from 0.
        temperature: T > 0 of the divergences.
        fit_images: training images for the fit, drawn by the seed.
        batch_size: images looked at together.
        seed: of the drawing.
        device: where to compute.
        watch: wraps batches of images with a label and their number, for a progress bar.

    Raises:
        FileNotFoundError: a checkpoint is not there.
        ValueError: one is of another kind or of other classes, or as ``fit_connectors``.
    """
    if min(fit_images, batch_size) < 1:
        raise ValueError(f"need 1 or more as fit_images {fit_images} and batch_size {batch_size}")
    device, base = as_device(device), parse_loss(loss) if isinstance(loss, str) else loss
    splits = load_data(data) if isinstance(data, str) else data
    if isinstance(student, Ladder):
        made, r2, fitted = student, None, 0
    else:
        networks = [network_of(x, splits, device).eval() for x in (student, teacher)]
        fitted = min(fit_images, len(splits.train))
        shuffled = splits.train.batches(batch_size, shuffle=True, seed=seed)
        images = watch(_first(shuffled, fitted, device), "Fitting", fitted)
        blocks, example = (student_blocks, teacher_blocks), next(splits.valid.batches(2))[0]
        fit = fit_connectors(*networks, (x for x, _ in images), *blocks, strength=strength)
        made, r2 = Ladder(*networks, example.to(device), *blocks, connectors=fit.connectors), fit.r2
    whole, count = Blockwise(base, made.blocks), len(splits.valid)
    look = watch(_first(splits.valid.batches(batch_size), count, device), "Climbing", count)
    told = _facts(student, teacher, made, splits, base)
    if fitted:
        told |= {"images of the fit": f"{fitted:,}", "strength of the ridge regression": strength}
    return ladder_study(told, ladder_tables(made, whole, look, r2, temperature))


def _facts(
    student: Any, teacher: Any, made: Ladder, data: DataSplits, loss: Loss
) -> dict[str, object]:
    return {
        "student": f"{called(student)}: {', '.join(made.student_blocks)}",
        "teacher": f"{called(teacher)}: {', '.join(made.teacher_blocks)}",
        "data": data.name,
        "validation images": f"{len(data.valid):,}",
        "loss of the gradients": f"{spelled(loss)}, block by block",
    }


def ladder_study(facts: Mapping[str, object], tables: Mapping[str, pd.DataFrame]) -> Study:
    """Return the study of a ladder's tables."""
    parts = {noun: {"": table} for noun, table in tables.items()}
    return Study(
        "A ladder of stepping stones",
        stated(facts),
        parts,
        lambda: [noun_section(noun, tables) for noun, tables in parts.items()],
    )


def _first(found: Iterable[tuple], most: int, device: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the first images with their labels, on a device."""
    for x, y, _ in found:
        yield x[:most].to(device), y[:most].to(device)
        most -= len(y)
        if most <= 0:
            return
