"""Region logits of some samples of a captured batch: which, how large, and as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.capture.options import Options
from kdanalysis.capture.seen import Seen, side_regions
from kdanalysis.capture.tap import Pass
from kdanalysis.core.regions import check_scales, count_regions
from kdanalysis.store.floats import DTYPES


@dataclass(frozen=True)
class RegionRows:
    """Region logits of both sides, of the samples whose regions are stored."""

    sample_id: Int[Tensor, " k"]
    target: Int[Tensor, " k"]
    student: Float[Tensor, "k c r"]
    teacher: Float[Tensor, "k c r"]

    def columns(self, step: int, epoch: int) -> dict[str, np.ndarray]:
        """Return the columns of the store."""
        count = len(self.sample_id)
        return {
            "step": np.full(count, step, dtype=np.int64),
            "epoch": np.full(count, epoch, dtype=np.int32),
            "sample_id": self.sample_id.cpu().numpy().astype(np.int64),
            "target": self.target.cpu().numpy().astype(np.int64),
            "teacher_regions": _array(self.teacher),
            "student_regions": _array(self.student),
        }


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
        ValueError: scales that do not rise from 1, or an unknown dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is one of {tuple(DTYPES)}, got {dtype!r}")
    values = 2 * rows * num_classes * count_regions(check_scales(scales))
    return values * DTYPES[dtype].itemsize


def region_rows(
    student: Pass,
    teacher: Pass,
    seen: Seen,
    rows: Int[Tensor, " k"],
    sample_id: Int[Tensor, " n"],
    target: Int[Tensor, " n"],
    options: Options,
) -> RegionRows | None:
    """Return the regions of these rows of a batch; None where none are asked for.

    Those that the loss saw are taken where it is at the same scales; others are made here, without
    a graph.

    Raises:
        ValueError: a side has no such regions, or a head that is not linear and that no loss at
            these scales applies.
    """
    if not options.regions or not len(rows):
        return None
    there = seen.student.dim() == 3 and options.loss.scales == options.regions
    known = (seen.student, seen.teacher) if there else (None, None)
    sides = [
        _side(name, one, rows, regions, options.regions)
        for name, one, regions in zip(
            ("student", "teacher"), (student, teacher), known, strict=True
        )
    ]
    ids, labels = (x.detach()[rows.to(x.device)] for x in (sample_id, target))
    return RegionRows(ids, labels, *sides)


@torch.no_grad()
def _side(
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


def _array(regions: Float[Tensor, "k c r"]) -> np.ndarray:
    return (regions.float() if regions.dtype == torch.bfloat16 else regions).cpu().numpy()
