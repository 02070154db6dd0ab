"""Region logits: kept of some samples of a captured batch, or read from trained models."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdanalysis.capture.passes import Pass, Seen, side_regions
from kdanalysis.capture.samples import Rows, check_count
from kdanalysis.capture.side import RegionTap, Side, as_side
from kdanalysis.core.arguments import typed
from kdanalysis.core.regions import check_scales, count_regions
from kdanalysis.losses import Loss
from kdanalysis.networks.mode import evaluating
from kdanalysis.store.floats import DTYPES


@typed
@dataclass(frozen=True)
class Regions:
    """Keeps the region logits of both sides (see ``region_logits``), whatever the loss.

    ``region_bytes`` says how large they are on the disk.

    Args:
        scales: of the regions, rising from 1.
        rows: most rows of a captured step whose regions are kept.

    Raises:
        ValueError: scales that do not rise from 1, or no rows.
    """

    scales: Sequence[int] = (1, 2, 4)
    rows: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", check_scales(self.scales))
        check_count("rows", self.rows)


@typed
def region_bytes(
    rows: int, num_classes: int, scales: Sequence[int] = (1, 2, 4), dtype: str = "float16"
) -> int:
    """Return the bytes that the region logits of teacher and student take on the disk.

    To know the size before training starts, give the rows of all captured steps together.

    Args:
        rows: samples whose regions are stored.
        num_classes: of the logits.
        scales: of the regions, rising from 1.
        dtype: "float16", "bfloat16", "float32" or "float64".

    Raises:
        ValueError: scales that do not rise from 1, an unknown dtype, or fewer than no rows.
    """
    if min(rows, num_classes) < 0:
        raise ValueError(f"need rows and num_classes from 0, got {rows} and {num_classes}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is one of {tuple(DTYPES)}, got {dtype!r}")
    values = 2 * rows * num_classes * count_regions(check_scales(scales))
    return values * np.dtype(DTYPES[dtype]).itemsize


def region_rows(
    student: Pass,
    teacher: Pass,
    seen: Seen,
    rows: Int[Tensor, " k"],
    sample_id: Int[Tensor, " n"],
    target: Int[Tensor, " n"],
    scales: tuple[int, ...],
    loss: Loss | None,
) -> Rows:
    """Return the regions of these rows of a batch.

    Those that the loss saw are taken where it is at the same scales; others are made here, without
    a graph.

    Raises:
        ValueError: a side has no such regions, or a head that is not linear and that no loss at
            these scales applies.
    """
    there = seen.student.dim() == 3 and loss.scales == scales
    known = (seen.student, seen.teacher) if there else (None, None)
    ids, labels = (x.detach()[rows.to(x.device)] for x in (sample_id, target))
    return Rows(
        ids,
        labels,
        student=_regions_of("student", student, rows, known[0], scales),
        teacher=_regions_of("teacher", teacher, rows, known[1], scales),
        of="regions",
    )


@torch.no_grad()
def _regions_of(
    name: str,
    one: Pass,
    rows: Int[Tensor, " k"],
    regions: Float[Tensor, "n c r"] | None,
    scales: tuple[int, ...],
) -> Float[Tensor, "k c r"]:
    regions = one.regions if regions is None else regions
    if regions is None and not one.features.linear:
        raise ValueError(
            f"regions of the {name} cannot be recorded: its head "
            f"{type(one.features.head).__name__} is not linear, and applying it again might draw "
            f"random numbers; record them with a loss on regions at the same scales"
        )
    if regions is None:
        return side_regions(name, _at(one, rows), scales)
    if regions.shape[-1] != count_regions(scales):
        raise ValueError(
            f"the {name}'s region logits have {regions.shape[-1]} regions, those of the scales "
            f"{scales} to record are {count_regions(scales)}"
        )
    return regions.detach()[rows.to(regions.device)]


def _at(one: Pass, rows: Int[Tensor, " k"]) -> Pass:
    """Return the rows of a forward pass, the logits as they were before anything changed them."""
    logits = one.logits if one.copy is None else one.copy
    values, logits = (x.detach()[rows.to(x.device)] for x in (one.features.values, logits))
    return one._replace(logits=logits, features=replace(one.features, values=values, logits=logits))


@typed
def read_regions(
    batches: Iterable[Sequence[Tensor]],
    teacher: nn.Module | Side,
    student: nn.Module | Side | None = None,
    scales: Iterable[int] = (1, 2, 4),
) -> Iterator[dict[str, np.ndarray]]:
    """Yield teacher_regions (n, c, r), student_regions, target and sample_id, batch by batch.

    These are the columns that the analyzers of regions take. Models run in evaluation mode without
    gradients, on the device of their parameters, and are left in the mode they were in. Their maps
    may have different grids: each is pooled on its own.

    Args:
        batches: of images, labels and, where there are any, sample ids.
        teacher: any convolutional network or transformer, or a Side of one; see ``RegionTap``.
        student: likewise; without one there is no student_regions.
        scales: of the regions, rising from 1.

    Raises:
        ValueError: a scale exceeds a map, a model has no spatial map or no head that fits it, or
            the models have other classes; the side is named.
    """
    scales = check_scales(scales)
    given = {"teacher": teacher} | ({} if student is None else {"student": student})
    sides = {name: as_side(one, name) for name, one in given.items()}
    with ExitStack() as stack:
        taps = {}
        for name, side in sides.items():
            stack.enter_context(evaluating(side.net))
            taps[name] = stack.enter_context(RegionTap(side, name))
        for images, target, *ids in batches:
            regions = {
                f"{name}_regions": _read(name, side.net, taps[name], images, scales)
                for name, side in sides.items()
            }
            _check_classes(regions)
            rest = {"target": target.cpu().numpy().astype(np.int64)}
            rest |= {"sample_id": ids[0].cpu().numpy().astype(np.int64)} if ids else {}
            yield regions | rest


@torch.no_grad()
def _read(
    name: str, model: nn.Module, tap: RegionTap, images: Tensor, scales: tuple[int, ...]
) -> Float[np.ndarray, "n c r"]:
    place = next(model.parameters(), images).device
    model(images.to(place))
    taken = tap.take()
    regions = side_regions(name, Pass(taken.logits, features=taken), scales)
    return regions.float().cpu().numpy()


def _check_classes(regions: dict[str, np.ndarray]) -> None:
    counts = {name.removesuffix("_regions"): x.shape[1] for name, x in regions.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"the teacher tells {counts['teacher']} classes apart, the student "
            f"{counts['student']}: both need the same classes"
        )
