"""The split of ``divergence`` as compiled loops, for processors: some samples at a time, in cache.

The same as the operations on whole arrays there, for groups of as many classes in every sample. A
call costs what a few of those operations do, which counts most where a batch is small. Inside, all
is float64.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.softened import exponentials, peaks_of, reordered, soften, together
from kdanalysis.core.sweep.elementary import curved, exact, widest

NEAR = 0.34  # of log(q / p): further from 0, q - p has digits enough


def decompose_rows(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    chosen: Sequence[Int[Tensor, "n _"]],
    temperature: int | float,
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n g"], Float[Tensor, "n g"]]:
    """Return what ``decompose`` does, the groups but the last given by their classes."""
    groups = len(chosen) + 1
    found = student.new_empty(1 + 2 * groups, len(student))
    _decompose(*_arrays(student, teacher, chosen), 1 / temperature, found.numpy())
    return found[0], found[1 : 1 + groups].t(), found[1 + groups :].t()


def slope_rows(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    chosen: Sequence[Int[Tensor, "n _"]],
    scales: Sequence[int | float],
    temperature: int | float,
    by_mass: Sequence[bool],
) -> tuple[Float[Tensor, "n c"], tuple[Float[Tensor, "n c"], ...]]:
    """Return what ``slopes`` does, the scales of high and of every low part with T in them."""
    found = student.new_empty(len(scales), *student.shape)
    arrays = _arrays(student, teacher, chosen)
    factors, heavy = np.array(scales, float), np.array(by_mass, bool)
    _slopes(*arrays, 1 / temperature, factors, heavy, found.numpy())
    high, *low = found.unbind()
    return high, tuple(low)


def whole_slope_rows(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    scale: int | float,
    temperature: int | float,
) -> Float[Tensor, "n c"]:
    """Return scale (q - p), both over all classes."""
    found = student.new_empty(student.shape)
    sides = (x.detach().contiguous().numpy() for x in (student, teacher))
    _whole_slopes(*sides, 1 / temperature, scale, found.numpy())
    return found


def _arrays(student: Tensor, teacher: Tensor, chosen: Sequence[Tensor]) -> list[np.ndarray]:
    """Both sides, the chosen classes beside each other, and where each group of them ends."""
    ends = np.array([0, *accumulate(group.shape[-1] for group in chosen)])
    if len(chosen) != 1:
        chosen = (torch.cat((torch.empty(len(student), 0, dtype=torch.long), *chosen), -1),)
    sides = (x.detach().contiguous().numpy() for x in (student, teacher, *chosen))
    return [*sides, ends]


@no_type_check
@exact
def _term(p, q, ratio):
    """One class's p (e^u - 1 - u), u = log(q/p): where u is not small, e^u is known from both."""
    near, far = p * curved(ratio), q - p - p * ratio
    return near if abs(ratio) < NEAR else far


@no_type_check
@reordered
def _inside(student, teacher, start, rate, gaps, q, p, of_q, of_p, found):
    """Fill in the sums of the last group's terms; classes without probability add nothing."""
    widest()
    g = gaps.shape[1] - 2
    for i in range(len(q)):
        total = 0.0
        for j in range(q.shape[1]):
            change = np.float64(student[start + i, j]) - np.float64(teacher[start + i, j])
            total += _term(p[i, j] * of_p[i], q[i, j] * of_q[i], change * rate - gaps[i, g])
        found[1 + g, start + i] = total


@no_type_check
@exact
def _decompose(student, teacher, classes, ends, rate, found):
    c, last, m = student.shape[1], len(ends) - 1, together(student)
    kept, q, p = np.empty((m, c), student.dtype), np.empty((m, c)), np.empty((m, c))
    for first in range(0, len(student), m):
        start = min(first, len(student) - m)
        soft_q, shifts_q, totals_q, mass_q = soften(student, start, classes, ends, rate, kept, q)
        soft_p, shifts_p, totals_p, mass_p = soften(teacher, start, classes, ends, rate, kept, p)
        gaps = np.log(totals_q / totals_p) + shifts_q - shifts_p
        of_q, of_p = 1.0 / totals_q[:, last], 1.0 / totals_p[:, last]
        _inside(student, teacher, start, rate, gaps, q, p, of_q, of_p, found)
        for i in range(m):
            at, high = start + i, 0.0
            for g in range(last + 1):
                high += _term(mass_p[i, g], mass_q[i, g], gaps[i, g] - gaps[i, last + 1])
                found[2 + last + g, at] = mass_p[i, g]
                if g < last:
                    total = 0.0
                    for j in range(ends[g], ends[g + 1]):
                        own = classes[at, j]
                        change = np.float64(student[at, own]) - np.float64(teacher[at, own])
                        total += _term(soft_p[i, j], soft_q[i, j], change * rate - gaps[i, g])
                    found[1 + g, at] = total
            found[0, at] = high


@no_type_check
@exact
def _slopes(student, teacher, classes, ends, rate, scales, by_mass, found):
    c, last, m = student.shape[1], len(ends) - 1, together(student)
    kept, q, p = np.empty((m, c), student.dtype), np.empty((m, c)), np.empty((m, c))
    of_high, of_low, none = np.empty(m), np.empty(m), np.zeros(m)
    for first in range(0, len(student), m):
        start = min(first, len(student) - m)
        soft_q, _, totals_q, mass_q = soften(student, start, classes, ends, rate, kept, q)
        soft_p, _, totals_p, mass_p = soften(teacher, start, classes, ends, rate, kept, p)
        moved, factor = np.empty((m, last + 1)), np.empty((m, last + 1))
        for i in range(m):
            excess = 0.0
            for g in range(last + 1):
                excess += mass_q[i, g] - mass_p[i, g]
            for g in range(last + 1):
                # The largest group's change is that of the others, whose masses have more digits.
                change = mass_q[i, g] - mass_p[i, g] - (excess if mass_p[i, g] > 0.5 else 0.0)
                moved[i, g] = scales[0] * change
                factor[i, g] = scales[g + 1] * (mass_p[i, g] if by_mass[g] else 1.0)
            of_high[i], of_low[i] = (
                moved[i, last] / totals_q[i, last],
                factor[i, last] / totals_q[i, last],
            )
        _differences(q, p, none, of_high, found[0], start)
        _differences(q, p, totals_q[:, last] / totals_p[:, last], of_low, found[last + 1], start)
        for g in range(last):
            found[g + 1, start : start + m] = 0.0
            for i in range(m):
                for j in range(ends[g], ends[g + 1]):
                    own = classes[start + i, j]
                    found[0, start + i, own] = soft_q[i, j] * moved[i, g]
                    low = (soft_q[i, j] - soft_p[i, j]) * factor[i, g]
                    found[g + 1, start + i, own] = low


@no_type_check
@exact
def _whole_slopes(student, teacher, rate, scale, found):
    c, m = student.shape[1], together(student)
    q, p, peaks = np.empty((m, c)), np.empty((m, c)), np.empty(m)
    sums_q, sums_p = np.empty(m), np.empty(m)
    for first in range(0, len(student), m):
        start = min(first, len(student) - m)
        peaks_of(student, start, peaks)
        exponentials(student, start, peaks, rate, q, sums_q)
        peaks_of(teacher, start, peaks)
        exponentials(teacher, start, peaks, rate, p, sums_p)
        _differences(q, p, sums_q / sums_p, scale / sums_q, found, start)


@no_type_check
@exact
def _differences(q, p, sums, scales, found, start):
    """Fill in scale (q - p): sums are the student's beside the teacher's, scales over the former.

    Equal sides have equal sums, and then no difference at all.
    """
    widest()
    for i in range(len(q)):
        for j in range(q.shape[1]):
            found[start + i, j] = (q[i, j] - p[i, j] * sums[i]) * scales[i]
