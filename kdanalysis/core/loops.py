"""The split of ``divergence`` as compiled loops, for processors: a sample at a time, in cache.

The same as the operations on whole arrays there, for groups of as many classes in every sample. A
call costs what a few of those operations do, which counts most where a batch is small. Inside, all
is float64. The scratch of a side holds the chosen classes, group by group, and then all classes,
of which the last group's have probability.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.divergence import FAR
from kdanalysis.core.sweep.elementary import compiled, exact, exp, expm1

# The largest and the sum of numbers may be reordered: vector registers then hold them.
reordered = compiled("contract", "reassoc", "nsz", "nnan")
LEAST = -700.0  # of an exponent; what is below has no weight beside the largest, exp(0)


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


def _arrays(student: Tensor, teacher: Tensor, chosen: Sequence[Tensor]) -> list[np.ndarray]:
    """Both sides, the chosen classes beside each other, and where the groups begin and end."""
    bounds = [0, *accumulate(group.shape[-1] for group in chosen)]
    bounds.append(bounds[-1] + student.shape[-1])
    if len(chosen) != 1:
        chosen = (torch.cat((torch.empty(len(student), 0, dtype=torch.long), *chosen), -1),)
    sides = (x.detach().contiguous().numpy() for x in (student, teacher, *chosen))
    return [*sides, np.array(bounds)]


@no_type_check
@exact
def _row(size):
    """Scratch; a row of an array of two axes would not be known to be contiguous."""
    return np.empty(size)


@no_type_check
@reordered
def _soften(logits, classes, bounds, rate, x, log_mass):
    """Make x the softmax of every group, and log_mass the logsumexp of its logits / T."""
    others = x[len(classes) :]
    for j in range(len(others)):
        others[j] = logits[j]
    for j in range(len(classes)):
        x[j] = logits[classes[j]]
        others[classes[j]] = -np.inf
    for g in range(len(log_mass)):
        part = x[bounds[g] : bounds[g + 1]]
        peak = part[0]
        for j in range(len(part)):
            peak = max(peak, part[j])
        for j in range(len(part)):
            part[j] = max((part[j] - peak) * rate, LEAST)
        log_mass[g] = peak * rate
    for j in range(len(x)):
        x[j] = exp(x[j])
    for j in range(len(classes)):
        others[classes[j]] = 0.0
    for g in range(len(log_mass)):
        part = x[bounds[g] : bounds[g + 1]]
        total = 0.0
        for j in range(len(part)):
            total += part[j]
        inverse = 1.0 / total
        for j in range(len(part)):
            part[j] *= inverse
        log_mass[g] += np.log(total)


@no_type_check
@exact
def _masses(log_mass, mass):
    """Fill in the share of each group, and return the logsumexp of all."""
    peak, total = log_mass.max(), 0.0
    for g in range(len(mass)):
        mass[g] = np.exp(log_mass[g] - peak)
        total += mass[g]
    for g in range(len(mass)):
        mass[g] /= total
    return peak + np.log(total)


@no_type_check
@exact
def _ratios(student, teacher, classes, bounds, rate, log_q, log_p, ratio):
    """Logarithms of q / p in the groups, from the gaps of the logits."""
    others = ratio[len(classes) :]
    for j in range(len(others)):
        others[j] = (np.float64(student[j]) - np.float64(teacher[j])) * rate
    for j in range(len(classes)):
        ratio[j] = others[classes[j]]
    for g in range(len(log_q)):
        part, shift = ratio[bounds[g] : bounds[g + 1]], log_q[g] - log_p[g]
        for j in range(len(part)):
            part[j] -= shift


@no_type_check
@exact
def _terms(p, q, ratio, x):
    """Put p (e^u - 1 - u), u = log(q/p), into x."""
    for j in range(len(x)):
        near = p[j] * (expm1(max(min(ratio[j], FAR), LEAST)) - ratio[j])
        x[j] = q[j] if ratio[j] > FAR else near


@no_type_check
@reordered
def _total(x):
    total = 0.0
    for j in range(len(x)):
        total += x[j]
    return total


@no_type_check
@exact
def _decompose(student, teacher, classes, bounds, rate, found):
    groups = len(bounds) - 1
    size = bounds[-1]
    q, p, ratio, x = _row(size), _row(size), _row(size), _row(size)
    log_q, log_p, q_mass, p_mass = _row(groups), _row(groups), _row(groups), _row(groups)
    masses, terms = _row(groups), _row(groups)
    for i in range(len(student)):
        _soften(student[i], classes[i], bounds, rate, q, log_q)
        _soften(teacher[i], classes[i], bounds, rate, p, log_p)
        _ratios(student[i], teacher[i], classes[i], bounds, rate, log_q, log_p, ratio)
        _terms(p, q, ratio, x)
        shift = _masses(log_q, q_mass) - _masses(log_p, p_mass)
        for g in range(groups):
            masses[g] = log_q[g] - log_p[g] - shift
            found[1 + g, i] = _total(x[bounds[g] : bounds[g + 1]])
            found[1 + groups + g, i] = p_mass[g]
        _terms(p_mass, q_mass, masses, terms)
        found[0, i] = _total(terms)


@no_type_check
@exact
def _slopes(student, teacher, classes, bounds, rate, scales, by_mass, found):
    groups, k = len(bounds) - 1, classes.shape[1]
    q, p = _row(bounds[-1]), _row(bounds[-1])
    log_q, log_p, q_mass, p_mass = _row(groups), _row(groups), _row(groups), _row(groups)
    for i in range(len(student)):
        _soften(student[i], classes[i], bounds, rate, q, log_q)
        _soften(teacher[i], classes[i], bounds, rate, p, log_p)
        _masses(log_q, q_mass), _masses(log_p, p_mass)
        excess = 0.0
        for g in range(groups):
            excess += q_mass[g] - p_mass[g]
        for g in range(groups - 1, -1, -1):
            # The largest group's change is that of the others, whose masses have more digits.
            change = q_mass[g] - p_mass[g] - (excess if p_mass[g] > 0.5 else 0.0)
            moved, factor = scales[0] * change, scales[g + 1] * (p_mass[g] if by_mass[g] else 1.0)
            if g == groups - 1:
                high, low = found[0, i], found[groups, i]
                q_part, p_part = q[k:], p[k:]
                for j in range(len(high)):
                    high[j] = q_part[j] * moved
                    low[j] = (q_part[j] - p_part[j]) * factor
            else:
                found[g + 1, i] = 0.0
                for j in range(bounds[g], bounds[g + 1]):
                    found[0, i, classes[i, j]] = q[j] * moved
                    found[g + 1, i, classes[i, j]] = (q[j] - p[j]) * factor
