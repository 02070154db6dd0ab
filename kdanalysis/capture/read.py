"""Region logits of trained models over images, without training anything."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.capture.regions import RegionTap
from kdanalysis.core.regions import check_scales
from kdanalysis.networks.mode import evaluating


def read_regions(
    batches: Iterable[Sequence[Tensor]],
    teacher: nn.Module,
    student: nn.Module | None = None,
    scales: Iterable[int] = (1, 2, 4),
    *,
    teacher_map: str = "",
    teacher_head: str = "",
    teacher_grid: tuple[int, int] | None = None,
    student_map: str = "",
    student_head: str = "",
    student_grid: tuple[int, int] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield teacher_regions (n, c, r), student_regions, target and sample_id, batch by batch.

    These are the columns that the analyzers of regions take. Models run in evaluation mode without
    gradients, on the device of their parameters, and are left in the mode they were in. Their maps
    may have different grids: each is pooled on its own.

    Args:
        batches: of images, labels and, where there are any, sample ids.
        teacher: any convolutional network or transformer; see ``RegionTap``.
        student: likewise; without one there is no student_regions.
        scales: of the regions, rising from 1.
        teacher_map: dotted name of the layer of its last spatial map; found where not given.
        teacher_head: dotted name of the layer that reads the map's average; likewise.
        teacher_grid: (h, w) of its tokens, where they are not the largest square.
        student_map: likewise.
        student_head: likewise.
        student_grid: likewise.

    Raises:
        ValueError: a scale exceeds a map, a model has no spatial map or no head that fits it, or
            the models have other classes; the side is named.
    """
    scales = check_scales(scales)
    sides = {"teacher": (teacher, teacher_map, teacher_head, teacher_grid)}
    if student is not None:
        sides["student"] = student, student_map, student_head, student_grid
    with ExitStack() as stack:
        taps = {}
        for side, (model, *names, grid) in sides.items():
            stack.enter_context(evaluating(model))
            taps[side] = stack.enter_context(RegionTap(model, *names, side=side, grid=grid))
        for images, target, *ids in batches:
            regions = {
                f"{side}_regions": _regions(side, model, taps[side], images, scales)
                for side, (model, *_) in sides.items()
            }
            _check_classes(regions)
            rest = {"target": target.cpu().numpy().astype(np.int64)}
            rest |= {"sample_id": ids[0].cpu().numpy().astype(np.int64)} if ids else {}
            yield regions | rest


@torch.no_grad()
def _regions(
    side: str, model: nn.Module, tap: RegionTap, images: Tensor, scales: tuple[int, ...]
) -> Float[np.ndarray, "n c r"]:
    place = next(model.parameters(), images).device
    model(images.to(place))
    try:
        return tap.take().regions(scales).float().cpu().numpy()
    except ValueError as error:
        raise ValueError(f"the {side} has no such regions: {error}") from error


def _check_classes(regions: dict[str, np.ndarray]) -> None:
    counts = {name.removesuffix("_regions"): x.shape[1] for name, x in regions.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"the teacher tells {counts['teacher']} classes apart, the student "
            f"{counts['student']}: both need the same classes"
        )
