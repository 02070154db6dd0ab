"""What a recorder keeps of a row in place of its logits: the teacher's K largest and sums."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.capture.samples import Rows
from kdanalysis.core.partition import TopK
from kdanalysis.core.truncation.kept import check_known, keep, known_ks
from kdanalysis.core.warn import warn
from kdanalysis.losses import Loss
from kdanalysis.losses.kept import OverKept, temperatures_of
from kdanalysis.store.floats import narrow, widen


def check_top(top: TopK | None) -> None:
    """Refuse classes other than the K largest.

    Raises:
        ValueError: K below 1, or the smallest ones.
    """
    if top is not None and (top.strategy != "best" or top.k < 1):
        raise ValueError(f"keep takes TopK(k) of the k >= 1 largest classes, got {top}")


def check_classes_kept(top: TopK, loss: Loss | None, num_classes: int) -> None:
    """Refuse a K of which nothing is left to sum up; warn of a loss that looks beyond the K.

    Raises:
        ValueError: K leaves fewer than two others.
    """
    check_known(top.k, num_classes)
    if loss is None:
        return
    try:
        OverKept(loss, top.k, temperatures_of(loss))
    except ValueError as error:
        warn(f"tables of this run will lack the loss that is trained: {error}")


def kept_facts(top: TopK, loss: Loss | None) -> dict[str, Any]:
    """Return what run.json says of the classes kept; see ``RunInfo``."""
    temperatures = temperatures_of(loss)
    return {"kept": top.k, "kept_temperatures": temperatures, "kept_ks": known_ks(top.k)}


def kept_columns(samples: Rows, top: TopK, loss: Loss | None, dtype: str) -> dict[str, np.ndarray]:
    """Return the columns of the kind "tokens": of the logits as a run of all of them stores them.

    So tables of both runs agree to the last digits. The sums are made in float64 on the processor.

    Args:
        samples: the rows, with all their logits.
        top: how many classes to keep.
        loss: whose temperatures the sums are at, beside T = 1.
        dtype: that logits are stored in.

    Raises:
        ValueError: logits beyond the range of ``dtype``, or a K that leaves fewer than two others.
    """
    sides = [
        _as_stored(getattr(samples, side), dtype, f"{side}_logits")
        for side in ("student", "teacher")
    ]
    kept = keep(*sides, samples.target, top.k, temperatures_of(loss))
    above = torch.triu_indices(*kept.products.shape[1:])  # of a symmetric matrix
    own = sides[0].numpy().dtype  # the writer narrows it, bfloat16 from float32
    return {
        "sample_id": samples.sample_id.cpu().numpy().astype(np.int64),
        "target": samples.target.cpu().numpy().astype(np.int64),
        "ids": kept.ids.numpy().astype(np.int32),
        "teacher_kept": kept.teacher.numpy().astype(own),
        "student_kept": kept.student.numpy().astype(own),
        "overlap": kept.overlap.numpy().astype(np.float32),
        "facts": kept.facts.numpy(),
        "products": kept.products[:, *above].numpy(),
        "far": kept.far.numpy().astype(np.float32).reshape(*kept.far.shape[:2], -1),
        "shape": kept.shape.numpy(),
        "best": kept.best.numpy(),
    }


def _as_stored(logits: Tensor, dtype: str, name: str) -> Float[Tensor, "n c"]:
    """Return logits as the store gives them back."""
    half = logits.dtype == torch.bfloat16
    values = (logits.float() if half else logits).detach().cpu().numpy()
    same = "bfloat16" if half else values.dtype.name
    return torch.from_numpy(widen(narrow(values, same if dtype == "same" else dtype, name)))
