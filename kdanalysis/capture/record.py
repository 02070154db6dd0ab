"""One captured batch: from tensors on their device to the columns of the store."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.capture.sent import SentGradient
from kdanalysis.gradients import HasGradients, residual


@dataclass
class Record:
    """A captured batch that waits for its backward pass. Rows are the sampled ones.

    ``scale`` is what the sent gradient has to be multiplied by to become the gradient of the sum
    over samples: n for a mean over n, less the factor of a GradScaler.
    """

    step: int
    epoch: int
    rows: Int[Tensor, " r"]
    sample_id: Int[Tensor, " r"]
    target: Int[Tensor, " r"]
    teacher: Float[Tensor, "r c"]
    student: Float[Tensor, "r c"]
    ramp: float
    scale: float
    sent: SentGradient | None

    def columns(self, loss: HasGradients | None) -> dict[str, np.ndarray]:
        """Return the columns of the store; logits in bfloat16 as their bits."""
        count = len(self.rows)
        return {
            "step": np.full(count, self.step, dtype=np.int64),
            "epoch": np.full(count, self.epoch, dtype=np.int32),
            "sample_id": self.sample_id.cpu().numpy().astype(np.int64),
            "target": self.target.cpu().numpy().astype(np.int64),
            "teacher_logits": _array(self.teacher),
            "student_logits": _array(self.student),
            "residual": self._residual(loss).float().cpu().numpy(),
        }

    def _residual(self, loss: HasGradients | None) -> Float[Tensor, " r"]:
        unknown = torch.full((len(self.rows),), torch.nan, dtype=torch.float64)
        if loss is None or self.sent is None or self.sent.value is None:
            return unknown
        finite = (self.student.isfinite() & self.teacher.isfinite()).all(-1)
        kept = (x[finite] for x in (self.student, self.teacher, self.target))
        closed = sum(loss.gradients(*kept, ramp=self.ramp).values())
        sent = self.sent.value[self.rows.to(self.sent.value.device)].double() * self.scale
        unknown = unknown.to(closed.device)
        unknown[finite] = residual(closed, sent[finite])
        return unknown


def _array(logits: Tensor) -> np.ndarray:
    if logits.dtype == torch.bfloat16:
        return logits.cpu().view(torch.uint16).numpy()
    return logits.cpu().numpy()


def store_dtype(logits: Tensor) -> str | None:
    """Return what the store must be told of the logits' dtype: "bfloat16" where they are bits."""
    return "bfloat16" if logits.dtype == torch.bfloat16 else None


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


def check_batch(student: Tensor, teacher: Tensor, target: Tensor, sample_id: Any) -> None:
    """Raise a ValueError where the sides, the targets or the sample ids do not fit together."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student gives logits of shape {tuple(student.shape)}, the teacher of "
            f"{tuple(teacher.shape)}: both need the same samples and the same classes"
        )
    for name, values in (("target", target), ("sample_id", sample_id)):
        if values is not None and tuple(values.shape) != (len(student),):
            raise ValueError(
                f"{name} has shape {tuple(values.shape)}, need one entry for each of the "
                f"{len(student)} samples"
            )
