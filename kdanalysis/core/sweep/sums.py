"""The sweep's statistics of a chunk: by compiled loops on processors, else by whole arrays.

Whole arrays also where there are so few logits that to load the loops takes longer.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.compiled import loops_serve
from kdanalysis.core.sweep.algebra import DEFINED, PLAIN, add_up, sample_statistics, sweep_terms
from kdanalysis.core.sweep.order import NARROW, class_order, rank

Numbers = Sequence[float | int]

LOOKS = 4  # temperatures of a usual sweep


def sums_over_samples(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    temperatures: Numbers,
    ks: Sequence[int],
    weights: Numbers,
    dtype: torch.dtype = torch.float64,
) -> tuple[Float[Tensor, "t s k"], Float[Tensor, "t d k"]]:
    """Return sums of PLAIN and DEFINED, and for DEFINED the samples that have it; T^2 included.

    Args:
        student: finite logits.
        teacher: the same.
        temperatures: every T.
        ks: ascending sizes of the top group.
        weights: of high, low_top and low_other.
        dtype: to compute in on other devices than the CPU, where all is computed in float64.
    """
    if not loops_serve(teacher, LOOKS):
        dtype = torch.float64 if teacher.device.type == "cpu" else dtype
        ranked, chosen = rank(student, teacher, dtype), torch.tensor(ks, device=teacher.device)
        each = (sample_statistics(sweep_terms(ranked, t, chosen), weights) for t in temperatures)
        sums, counts = zip(*map(add_up, each), strict=True)
        return torch.stack(sums), torch.stack(counts)
    found, _, steep = _compiled(student, teacher, temperatures, ks, weights, each=False)
    sums, counts = found[:, 0], found[:, 1, len(PLAIN) :]
    for row, temperature in enumerate(temperatures):
        if (far := steep[row]).any():
            found = _by_arrays(student[far], teacher[far], temperature, ks, weights)
            for whole, part in zip((sums, counts), add_up(found), strict=True):
                whole[row] += part
    return sums, counts


def of_every_sample(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    temperatures: Numbers,
    ks: Sequence[int],
    weights: Numbers,
) -> Float[Tensor, "t s k n"]:
    """Return PLAIN and DEFINED of every sample, T^2 included; NaN where there is none."""
    if loops_serve(teacher, LOOKS):
        _, found, steep = _compiled(student, teacher, temperatures, ks, weights, each=True)
    else:
        shape = len(temperatures), len(PLAIN) + len(DEFINED), len(ks), len(teacher)
        found = torch.empty(shape, dtype=torch.float64, device=teacher.device)
        steep = teacher.new_ones(len(temperatures), len(teacher), dtype=torch.bool)
    for of_t, far, temperature in zip(found, steep, temperatures, strict=True):
        if far.any():
            there = _by_arrays(student[far], teacher[far], temperature, ks, weights)
            of_t[..., far] = there.where(there.isfinite(), torch.nan)
    return found


def _by_arrays(
    student: Tensor, teacher: Tensor, temperature: float | int, ks: Sequence[int], weights: Numbers
) -> Float[Tensor, "s k n"]:
    """The samples' statistics by operations on whole arrays."""
    chosen = torch.tensor(ks, device=teacher.device)
    return sample_statistics(sweep_terms(rank(student, teacher), temperature, chosen), weights)


def _compiled(
    student: Tensor,
    teacher: Tensor,
    temperatures: Numbers,
    ks: Sequence[int],
    weights: Numbers,
    each: bool,
) -> tuple[Float[Tensor, "t 2 s k"], Float[Tensor, "t s k m"], Tensor]:
    """Sums and counts of samples within REACH; those of ``each``; which are beyond, (t, n)."""
    from kdanalysis.core.sweep import distributions, loops  # numba takes a while to load

    samples, classes = teacher.shape
    wide = torch.float64 in (student.dtype, teacher.dtype)
    s, t = (x.to(torch.float64 if wide else torch.float32).numpy() for x in (student, teacher))
    ranked, extremes = np.empty((2, samples, classes)), np.empty((samples, 3))
    distributions.lay_out(_keys(teacher, t, ks), s, t, ranked, extremes)
    ends = np.array((*ks, classes))
    kinds = len(PLAIN) + len(DEFINED)
    totals = np.zeros((len(temperatures), 2, len(ks), kinds))
    found = np.empty((len(temperatures), samples if each else 0, len(ks), kinds))
    steep = np.zeros((len(temperatures), samples), bool)
    chosen = tuple(float(w) for w in weights)
    for row, temperature in enumerate(temperatures):
        settings = float(temperature), chosen, ends
        loops.collect(*ranked, extremes, *settings, *totals[row], found[row], steep[row])
    found[~np.isfinite(found)] = np.nan
    return (
        torch.from_numpy(totals).transpose(2, 3),
        torch.from_numpy(found.transpose(0, 3, 2, 1)),
        torch.from_numpy(steep),
    )


def _keys(teacher: Tensor, logits: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Whole numbers that hold the class in their last 32 bits, in the order of the parts."""
    if teacher.dtype not in NARROW:
        return class_order(teacher).numpy()
    from kdanalysis.core.sweep import distributions

    keys = np.empty(logits.shape, np.int64)
    distributions.write_keys(logits.astype(np.float32, copy=False).view(np.int32), keys)
    if len(ks) == keys.shape[1] - 1:
        keys.sort(-1)
    else:
        keys.partition([k - 1 for k in ks], -1)
    return keys
