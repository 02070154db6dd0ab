"""One captured batch: from tensors on their device to the columns of the store."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.amp import GradScaler

from kdanalysis.capture.features import Pull
from kdanalysis.capture.grams import LayerGrams
from kdanalysis.capture.options import Options
from kdanalysis.capture.probe import LayerProbe
from kdanalysis.capture.region_rows import RegionRows, region_rows
from kdanalysis.capture.seen import Seen
from kdanalysis.capture.sent import SentGradient
from kdanalysis.capture.tap import Pass

ROWS = 1 << 32  # default sample ids of a rank: its number times this, plus the row


@dataclass
class Record:
    """A captured batch that waits for its backward pass. Rows are the sampled ones.

    ``sides`` are student and teacher as the loss sees them; for ``pull`` and ``known`` see
    ``Seen``. ``scale`` is what the sent gradient has to be multiplied by to become the gradient of
    the sum over samples: n for a mean over n, less ``factor``, that of a GradScaler, which skipped
    the optimizer's step where ``skipped``.
    """

    step: int
    epoch: int
    rows: Int[Tensor, " r"]
    sample_id: Int[Tensor, " r"]
    target: Int[Tensor, " r"]
    teacher: Float[Tensor, "r c"]
    student: Float[Tensor, "r c"]
    sides: tuple[Tensor, Tensor]
    pull: Pull | None
    known: Bool[Tensor, " r"] | None
    ramp: float
    scale: float
    factor: float | None = None
    sent: SentGradient | None = None
    layers: LayerGrams | None = None
    regions: RegionRows | None = None
    skipped: bool = False

    def finish(self, scaler: Any) -> None:
        """End the watch; a GradScaler's factor falls where it skips the optimizer's step."""
        if self.sent is not None:
            self.sent.remove()
        self.skipped = isinstance(scaler, GradScaler) and scaler.get_scale() < self.factor

    def columns(self, residual: Float[Tensor, " r"]) -> dict[str, np.ndarray]:
        """Return the columns of the store; logits in bfloat16 as their bits."""
        count = len(self.rows)
        return {
            "step": np.full(count, self.step, dtype=np.int64),
            "epoch": np.full(count, self.epoch, dtype=np.int32),
            "sample_id": self.sample_id.cpu().numpy().astype(np.int64),
            "target": self.target.cpu().numpy().astype(np.int64),
            "teacher_logits": _array(self.teacher),
            "student_logits": _array(self.student),
            "residual": residual.float().cpu().numpy(),
        }


def begin(
    student: Pass,
    teacher: Pass,
    seen: Seen,
    target: Tensor,
    sample_id: Tensor | None,
    options: Options,
    probe: LayerProbe | None = None,
    factor: int | float | None = None,
    **facts: Any,
) -> Record:
    """Copy what is captured of a batch; ``facts`` are step, epoch and ramp.

    ``probe`` takes the gradients in layers; ``factor`` is that of a GradScaler.

    Raises:
        ValueError: a target that is no class.
    """
    count = len(target)
    if sample_id is None:
        sample_id = torch.arange(count) + options.rank * ROWS
    check_captured(target, sample_id, student.logits.shape[-1])
    rows = sample_rows(count, options.max_rows, options.seed, facts["step"])
    some = rows[sample_rows(len(rows), options.region_rows, options.seed, facts["step"])]
    logits = tuple(kept(one.logits, rows, one.copy) for one in (student, teacher))
    on_regions, scaled = seen.student.dim() == 3, 1.0 if factor is None else factor
    return Record(
        rows=rows,
        sample_id=kept(sample_id, rows),
        target=kept(target, rows),
        student=logits[0],
        teacher=logits[1],
        sides=(kept(seen.student, rows), kept(seen.teacher, rows)) if on_regions else logits,
        pull=seen.pull,
        known=None if seen.known is None else kept(seen.known, rows),
        scale=count * options.accumulate / scaled,
        regions=region_rows(student, teacher, seen, some, sample_id, target, options),
        factor=factor,
        layers=None
        if probe is None
        else probe.take(student, teacher, seen, target, scaled, **facts),
        **facts,
    )


def _array(logits: Tensor) -> np.ndarray:
    if logits.dtype == torch.bfloat16:
        return logits.cpu().view(torch.uint16).numpy()
    return logits.cpu().numpy()


def store_dtype(*sides: Tensor) -> str | None:
    """Return what the store must be told of the logits: "bfloat16" where a side's are bits."""
    return "bfloat16" if torch.bfloat16 in {logits.dtype for logits in sides} else None


def sample_rows(count: int, most: int | None, seed: int, step: int) -> Int[Tensor, " r"]:
    """Choose at most ``most`` of ``count`` rows, by (seed, step) alone; never the global RNG."""
    if most is None or most >= count:
        return torch.arange(count)
    generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
    return torch.randperm(count, generator=generator)[:most].sort().values


def kept(values: Tensor, rows: Int[Tensor, " r"], copy: Tensor | None = None) -> Tensor:
    """Return the rows as memory of their own, taken from ``copy`` where there is one."""
    if copy is None or len(rows) < len(values):
        values = values if copy is None else copy
        return values.detach()[rows.to(values.device)]
    return copy


def check_batch(student: Any, teacher: Any, target: Any, sample_id: Any) -> None:
    """Raise a ValueError where the sides, the targets or the sample ids do not fit together."""
    given = {"student": student, "teacher": teacher, "target": target, "sample_id": sample_id}
    for name, values in given.items():
        if not isinstance(values, Tensor) and not (name == "sample_id" and values is None):
            raise ValueError(f"{name} must be a torch tensor, got {type(values).__name__}")
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student gives logits of shape {tuple(student.shape)}, the teacher of "
            f"{tuple(teacher.shape)}: both need the same samples and the same classes"
        )
    for name in ("target", "sample_id"):
        if given[name] is not None:
            _check_integers(name, given[name], len(student))


def check_captured(target: Tensor, sample_id: Tensor, classes: int) -> None:
    """Raise a ValueError for a target that is no class; warn where a sample id comes twice.

    Only what is captured is looked at, since looking waits for the device.
    """
    outside = (target < 0) | (target >= classes)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"target of sample {row} is {int(target[row])}, need an index from 0 to {classes - 1}: "
            f"leave such samples out of what is recorded"
        )
    repeated = len(sample_id) - len(sample_id.unique())
    if repeated:
        warnings.warn(
            f"{repeated} sample ids come twice in a batch: a row is known by its step and sample "
            f"id, so only the first of each is read back",
            RuntimeWarning,
            stacklevel=5,
        )


def _check_integers(name: str, values: Tensor, count: int) -> None:
    if tuple(values.shape) != (count,):
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}, need one entry for each of the {count} "
            f"samples"
        )
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, got {values.dtype}")
