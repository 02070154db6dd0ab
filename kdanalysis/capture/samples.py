"""Samples of a captured batch: which are kept, what of them, and whether it fits together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.arguments import fitted, told_of_one
from kdanalysis.core.gram import HasGradients
from kdanalysis.core.logits import check_dense, check_logits
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.warn import warn
from kdanalysis.losses import Loss
from kdanalysis.losses.sides import Labels, is_soft, refuse_wide
from kdanalysis.networks.hook import TOKENS
from kdanalysis.store.labels import NO_LABEL, labels

OWN = 1 << 32  # default sample ids of a rank: its number times this, plus the row


@dataclass(frozen=True)
class Rows:
    """Some samples of a batch and what both sides say of them, copied.

    ``of`` is "logits" (r, c), or "regions" (r, c, cells), and ends the names of their columns.
    ``soft`` are the targets where they are rows over the classes.
    """

    sample_id: Int[Tensor, " r"]
    target: Int[Tensor, " r"]
    teacher: Float[Tensor, "r c *cells"]
    student: Float[Tensor, "r c *cells"]
    of: str = "logits"
    soft: Float[Tensor, "r c"] | None = None

    @property
    def dtype(self) -> str | None:
        """What the store must be told: "bfloat16" where columns are bits."""
        found = {x.dtype for x in (self.teacher, self.student, self.soft) if x is not None}
        return "bfloat16" if torch.bfloat16 in found else None

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of the store; numbers in bfloat16 as their bits."""
        return {
            "sample_id": self.sample_id.cpu().numpy().astype(np.int64),
            "target": self.target.cpu().numpy().astype(np.int64),
            f"teacher_{self.of}": _array(self.teacher),
            f"student_{self.of}": _array(self.student),
            **({} if self.soft is None else {"soft_target": _array(self.soft)}),
        }


def _array(values: Tensor) -> np.ndarray:
    if values.dtype == torch.bfloat16:
        return values.cpu().view(torch.uint16).numpy()
    return values.cpu().numpy()


def own_ids(count: int, rank: int, first: int = 0) -> Int[Tensor, " n"]:
    """Return sample ids for a batch without any: row numbers that no two ranks share."""
    start = rank * OWN + first
    return torch.arange(start, start + count)


def sample_rows(count: int, most: int | None, seed: int, step: int) -> Int[Tensor, " r"]:
    """Choose at most ``most`` of ``count`` rows, by (seed, step) alone; never the global RNG."""
    if most is None or most >= count:
        return torch.arange(count)
    return permuted(count, seed, step)[:most].sort().values


def permuted(count: int, seed: int, step: int) -> Int[Tensor, " n"]:
    """Permute the samples by (seed, step) alone; never the global RNG."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
    return torch.randperm(count, generator=generator)


def kept(values: Tensor, rows: Int[Tensor, " r"], copy: Tensor | None = None) -> Tensor:
    """Return the rows as memory of their own, taken from ``copy`` where there is one."""
    if copy is None or len(rows) < len(values):
        values = values if copy is None else copy
        return values.detach()[rows.to(values.device)]
    return copy


def check_count(name: str, value: Any) -> None:
    """Raise a ValueError where a number that was given is not at least 1."""
    if fitted(name, value, int) < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")


def check_batch(student: Any, teacher: Any, target: Any, sample_id: Any) -> None:
    """Raise a ValueError where the sides, the targets or the sample ids do not fit together."""
    if isinstance(teacher, SparseTeacher):
        raise ValueError(
            f"teacher is {teacher!r}, and a recorder needs the logits of all classes: train on it "
            f"with loss(student, teacher, target) of kdanalysis alone, and look at it afterwards "
            f"with kdanalysis truncation TOKENS --student LOGITS"
        )
    given = {"student": student, "teacher": teacher, "target": target, "sample_id": sample_id}
    for name, values in given.items():
        if not isinstance(values, Tensor) and not (name == "sample_id" and values is None):
            raise ValueError(f"{name} must be a torch tensor, got {type(values).__name__}")
    check_dense("student logits", student)
    check_dense("teacher logits", teacher)
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student gives logits of shape {tuple(student.shape)}, the teacher of "
            f"{tuple(teacher.shape)}: both need the same samples and the same classes"
        )
    if student.dim() == 3 and target.dim() == 2:
        raise ValueError(f"the logits have shape {tuple(student.shape)}: {TOKENS}")
    refuse_wide(target)
    if is_soft(target) and target.shape != student.shape[:2]:
        raise ValueError(
            f"targets {tuple(target.shape)} that are distributions need a number for each of the "
            f"{student.shape[1]} classes of the {len(student)} samples"
        )
    for name in ("target", "sample_id"):
        if given[name] is not None and not (name == "target" and is_soft(target)):
            _check_integers(name, given[name], len(student))


def check_sides(student: Tensor, teacher: Tensor) -> None:
    """Raise a ValueError for probabilities, warn of what is probably no logits; of one step."""
    instead = "record what goes into the last layer: kd.Side(model, layer=...) names another"
    for name, logits in (("the student's outputs", student), ("the teacher's outputs", teacher)):
        whole = logits.detach()
        check_logits(name, whole if whole.dim() == 2 else whole[..., 0], instead)


def captured_labels(target: Tensor, classes: int, loss: HasGradients | None) -> Int[Tensor, " n"]:
    """Return the targets as labels, -1 where a row has none.

    -1, -100, 255 and what the loss ignores say so, and so does a distribution over several classes.
    Only what is captured is looked at, since looking waits for the device.

    Raises:
        ValueError: another target is no class, or the loss needs the label that a row lacks.
    """
    if is_soft(target):
        if isinstance(loss, Loss):
            loss.check_targets(target)
        one = ((target != 0).sum(-1) == 1) & (target.amax(-1) == 1)
        return target.argmax(-1).where(one, NO_LABEL)
    given = target.cpu().numpy().astype(np.int64)
    found, wrong = labels(given, classes)
    ignored, needed = getattr(loss, "ignore_index", None), getattr(loss, "needs_target", False)
    if ignored is None:
        wrong |= (found == NO_LABEL) & needed
    else:
        found, wrong = np.where(given == ignored, NO_LABEL, found), wrong & (given != ignored)
    if wrong.any():
        row = int(wrong.argmax())
        lacking, way = found[row] == NO_LABEL, "leave such samples out of what is recorded"
        ce = lacking and "ce" in getattr(loss, "terms", ()) and not loss.needs_index
        way = f"{way}, or give CrossEntropy(ignore_index={given[row]})" if ce else way
        lacks = f": {type(loss).__name__} needs its label" if lacking else " (-1 for none)"
        raise ValueError(
            f"target of sample {row} is {given[row]}, need an index from 0 to {classes - 1}{lacks}"
            f"{told_of_one(given.min(), given.max(), classes) or f'; {way}'}"
        )
    return torch.from_numpy(found).to(target.device)


def soft_of(target: Labels, label: Int[Tensor, " n"]) -> Float[Tensor, "n c"] | None:
    """Return targets over the classes, None where the labels say all that they do."""
    return target if is_soft(target) and (label < 0).any() else None


def warn_of_repeated(sample_id: Tensor) -> None:
    """Warn where a sample id comes twice in a captured batch."""
    if len(sample_id.unique()) < len(sample_id):
        warn(
            "sample ids come twice in a batch: a row is known by its step and sample id, so only "
            "the first of each is read back; the run says how many are left out"
        )


def _check_integers(name: str, values: Tensor, count: int) -> None:
    if tuple(values.shape) != (count,):
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}, need one entry for each of the {count} "
            f"samples"
        )
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, got {values.dtype}")
