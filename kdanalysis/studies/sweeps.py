"""sweep: what every k and several temperatures would do, from one pair of logits."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.chunks import chunks
from kdanalysis.analyzers.sweep.checks import check_ks, check_weights
from kdanalysis.analyzers.sweep.sweep import COLUMNS, TermSweep
from kdanalysis.core.arguments import typed
from kdanalysis.core.limits import announce_memory
from kdanalysis.core.logits import check_dense
from kdanalysis.core.streams import check_batch, check_classes, check_temperatures, finite_rows
from kdanalysis.core.sweep.algebra import DEFINED, PLAIN
from kdanalysis.core.sweep.sums import of_every_sample
from kdanalysis.core.wording import PICKED
from kdanalysis.studies.arrays import as_array
from kdanalysis.studies.pairing import look_at_sides

ROWS = 65_536  # looked at together; a batch of the analyzer


@typed
def sweep(
    student: Tensor | np.ndarray,
    teacher: Tensor | np.ndarray,
    temperatures: Sequence[float | int] = (1, 2, 4, 8),
    ks: str | Sequence[int] = "all",
    weights: Sequence[float | int] = (1.0, 1.0, 8.0),
    dtype: torch.dtype = torch.float64,
) -> pd.DataFrame:
    """Return values, gradient norms, shares and cosines of GDKD's terms, for every k and T.

    One row a (temperature, k), means over the samples; the columns are those of
    :class:`kdanalysis.analyzers.sweep.sweep.TermSweep`: at least mass_top, value_high,
    value_low_top, value_low_other, value_kd, norm_high, norm_low_top, norm_low_other, norm_kd,
    norm_total and cosine_total_kd, and of all samples' gradients laid end to end rms_high, rms_kd,
    rms_total, cosine_batch_total_kd, share_batch_low_other and their like. Values in nats, T^2
    included; norms are L2 norms of per-sample gradients in the student's logits, T^2 included,
    unweighted but for ``total``. Nothing is trained and no backward pass is run; memory does not
    grow with the number of samples. Where the teacher's logits tie, the class with the smaller
    index comes first.

    Args:
        student: logits (n, c) of any float type, tensor or array.
        teacher: logits of the same shape.
        temperatures: every T > 0.
        ks: sizes of the top group, "all" for 1 to c - 1.
        weights: of high, low_top, low_other in the total and the shares.
        dtype: to compute in on other devices than the CPU, whose loops compute in float64. float32
            was measured on normal logits of scale 3 and 100 classes, T 1 to 8, against float64:
            means within a relative 1e-4.

    Raises:
        ValueError: a logit is NaN or infinite, shapes differ, there is one class or no sample, or
            a k, a temperature or a weight is out of range.
    """
    student, teacher = as_sides(student=student, teacher=teacher)
    analyzer = TermSweep(teacher.shape[1], temperatures, ks, weights, dtype).to(teacher.device)
    for start in range(0, max(len(teacher), 1), ROWS):
        rows = slice(start, start + ROWS)
        analyzer.update(student[rows], teacher[rows])
        if analyzer.non_finite:
            refuse_non_finite(start, student=student[rows], teacher=teacher[rows])
    return analyzer.table().drop(columns="non_finite")


@typed
def sweep_samples(
    student: Tensor | np.ndarray,
    teacher: Tensor | np.ndarray,
    temperature: float | int = 4.0,
    ks: str | Sequence[int] = "all",
    weights: Sequence[float | int] = (1.0, 1.0, 8.0),
) -> dict[str, Tensor]:
    """Return what ``sweep`` takes the means of, sample by sample: tensors (n, k) by name.

    Names, units and arguments as in :func:`sweep`. NaN where a sample has none, such as the cosine
    of a gradient of zero. The result holds 24 numbers a sample and k: give it a batch.

    Raises:
        ValueError: as :func:`sweep`, or more numbers than this machine's memory holds.
    """
    student, teacher = as_sides(student=student, teacher=teacher)
    check_batch(teacher, student, None, None)
    refuse_non_finite(0, student=student, teacher=teacher)
    (temperature,) = check_temperatures((temperature,))
    chosen, weights = check_ks(ks, teacher.shape[1]), check_weights(weights)
    size = 8 * len(PLAIN + DEFINED) * len(teacher) * len(chosen)
    what = f"{len(teacher):,} samples at {len(chosen):,} k"
    announce_memory(size, what, "give a batch of the samples, or fewer ks")
    settings = (temperature,), chosen, weights
    found = [of_every_sample(*pair, *settings)[0] for pair in chunks(student, teacher)]
    named = zip((*PLAIN, *DEFINED), torch.cat(found, -1).transpose(1, 2), strict=True)
    return {name: values for name, values in named if name in COLUMNS}


def as_sides(**sides: Tensor | np.ndarray) -> list[Tensor]:
    """Return the student and its teachers as tensors (n, c) of floats, looked at together.

    Args:
        sides: by name, the student first; names of teachers begin with "teacher".

    Raises:
        ValueError: as :func:`as_logits`, they differ in shape or device, have fewer than two
            classes, or one holds probabilities, or logarithms to another base than e.
    """
    given = {name: as_logits(side, name) for name, side in sides.items()}
    student = given["student"]
    for name, one in given.items():
        if one.shape != student.shape:
            raise ValueError(
                f"student logits {tuple(student.shape)} and {name} logits {tuple(one.shape)} "
                f"must have the same shape"
            )
        if one.device != student.device:
            raise ValueError(
                f"student logits are on {student.device}, {name} logits on {one.device}: "
                f"need both on one device"
            )
    check_classes(student.shape[1])
    look_at_sides(**given)
    return list(given.values())


def as_logits(logits: Tensor | np.ndarray, side: str) -> Tensor:
    """Return a tensor (n, c) of floats, its memory shared where possible.

    Raises:
        ValueError: it has other dimensions, or holds no floats.
    """
    if not isinstance(logits, Tensor):
        logits = as_array(f"{side} logits", logits)
        if logits.dtype.kind != "f":
            raise ValueError(f"{side} logits are {logits.dtype}, need floats")
        native = logits.dtype.newbyteorder("=")
        logits = torch.from_numpy(np.require(logits, native, requirements=["C", "W"]))
    check_dense(f"{side} logits", logits)
    if logits.dim() != 2:
        shape, hint = tuple(logits.shape), f": {PICKED}" if logits.dim() == 3 else ""
        raise ValueError(f"{side} logits have shape {shape}, need (samples, classes){hint}")
    return logits.detach()


def refuse_non_finite(start: int, **sides: Tensor) -> None:
    """Raise a ValueError that names the first sample with NaN or inf, counted from ``start``."""
    for side, logits in sides.items():
        if (bad := ~finite_rows(logits)).any():
            sample = int(bad.nonzero()[0])
            index = int((~logits[sample].isfinite()).nonzero()[0])
            raise ValueError(
                f"{side} logits of sample {start + sample} hold {float(logits[sample, index])} at "
                f"class {index}; need finite logits"
            )
