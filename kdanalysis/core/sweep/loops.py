"""The sweep as compiled loops, for processors: a sample is read once and its sums stay at hand.

The same as ``groups`` and ``algebra``, which write it as operations on whole arrays. Loops over
samples are innermost and vectorised; they hold no lock, so that threads help. What is undefined
divides 0 by 0.
"""

from collections import namedtuple
from typing import no_type_check

import numpy as np
from numba import njit

from kdanalysis.core.sweep.algebra import DEFINED, PLAIN
from kdanalysis.core.sweep.groups import ROUNDING
from kdanalysis.core.sweep.logarithm import exact, log_ratio

# Sums over samples may be reordered, which lets them use vector registers.
summed = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})

LANES = 64  # samples looked at together: their groups stay in the cache
# Of a group: its fields one after the other, without T^2, as in grow.Group.
SIZE = 11 * LANES
MASS, EXCESS, SPREAD, ALONG, WITHIN, INVERSE_Q, VALUE, SQUARES, PRODUCTS, MEAN, INVERSE = range(
    0, SIZE, LANES
)
# Of two groups: inner products of gradients over T^2, and the logarithms of both Q/P.
TOP_TOP, OTHER_OTHER, HIGH_HIGH, HIGH_TOP, HIGH_OTHER, LOG_TOP, LOG_OTHER = range(
    0, 7 * LANES, LANES
)
# Of a sample, whatever k: value of kd over T^2, norm of its gradient over T, entropy.
VALUE_KD, NORM_KD, ENTROPY = range(0, 3 * LANES, LANES)
NAMES = (*PLAIN, *DEFINED)
AT = namedtuple("Place", NAMES)(*range(0, len(NAMES) * LANES, LANES))


@no_type_check
@exact
def begin(group, p, e, shift):
    """Make a group of one class."""
    for i in range(len(p)):
        group[INVERSE + i] = 1.0 / p[i]
        group[MASS + i], group[EXCESS + i], group[MEAN + i] = p[i], e[i], e[i] / p[i]
        group[SQUARES + i], group[PRODUCTS + i] = p[i] * p[i], p[i] * e[i]
        group[SPREAD + i], group[ALONG + i], group[WITHIN + i], group[VALUE + i] = (
            1.0,
            0.0,
            0.0,
            0.0,
        )
        group[INVERSE_Q + i] = 1.0 / (e[i] + p[i] * shift[i])


@no_type_check
@exact
def add_class(old, new, p, e, ratio, shift):
    """Make a group of an old one and one class more."""
    for i in range(len(p)):
        mass = old[MASS + i] + p[i]
        inverse = 1.0 / mass
        excess = old[EXCESS + i] + e[i]
        squares = old[SQUARES + i] + p[i] * p[i]
        products = old[PRODUCTS + i] + p[i] * e[i]
        gap = old[MEAN + i] - ratio[i]
        step = gap * p[i] * old[MASS + i] * inverse
        inner = 2.0 * old[ALONG + i] + step * old[SPREAD + i] + step
        new[WITHIN + i] = max(old[WITHIN + i] + inner * step, 0.0)
        inverse_q = 1.0 / (excess + mass * shift[i])
        gap *= inverse_q
        scale = mass * inverse_q
        of_old = log_ratio(gap * p[i], (old[MEAN + i] + shift[i]) * scale)
        of_own = log_ratio(-gap * old[MASS + i], (ratio[i] + shift[i]) * scale)
        new[VALUE + i] = max(old[VALUE + i] - (of_old * old[MASS + i] + of_own * p[i]), 0.0)
        mean, square = excess * inverse, squares * inverse
        new[MASS + i], new[EXCESS + i], new[MEAN + i] = mass, excess, mean
        new[INVERSE + i] = inverse
        new[SQUARES + i], new[PRODUCTS + i], new[INVERSE_Q + i] = squares, products, inverse_q
        new[ALONG + i], new[SPREAD + i] = products * inverse - mean * square, square * inverse


@no_type_check
@exact
def multiply(top, other, shift, gram):
    """Fill in the inner products of the terms' gradients, and the logarithms of both Q/P."""
    for i in range(len(shift)):
        # The other group's deviations are small where the teacher is saturated: D comes from there.
        change = other[MASS + i] * (1.0 - shift[i]) - other[EXCESS + i]
        noise = ROUNDING * other[MASS + i] * other[MASS + i]
        change = 0.0 if change * change <= noise else change
        along_top = top[ALONG + i] * top[INVERSE_Q + i]
        along_other = other[ALONG + i] * other[INVERSE_Q + i]
        top_top = top[WITHIN + i] * top[INVERSE_Q + i] * top[INVERSE_Q + i]
        other_other = other[WITHIN + i] * other[INVERSE_Q + i] * other[INVERSE_Q + i]
        none_top = top_top <= ROUNDING * top[SPREAD + i]
        none_other = other_other <= ROUNDING * other[SPREAD + i]
        top_top = 0.0 if none_top else top_top
        other_other = 0.0 if none_other else other_other
        turned_top = 0.0 if none_top else top_top + along_top
        turned_other = 0.0 if none_other else other_other + along_other
        squares = turned_top + turned_other + (along_top + along_other)
        squares = squares + top[SPREAD + i] + other[SPREAD + i]
        gram[TOP_TOP + i], gram[OTHER_OTHER + i] = top_top, other_other
        gram[HIGH_HIGH + i] = squares * change * change
        gram[HIGH_TOP + i], gram[HIGH_OTHER + i] = turned_top * change, -turned_other * change
        gram[LOG_TOP + i] = log_ratio(change * top[INVERSE + i], top[MEAN + i] + shift[i])
        gram[LOG_OTHER + i] = log_ratio(-change * other[INVERSE + i], other[MEAN + i] + shift[i])


@no_type_check
@exact
def state(top, other, gram, whole, size, temperature, weights, found):
    """Fill in masses, values, norms and cosines, T^2 included."""
    square = temperature * temperature
    w_high, w_top, w_other = weights
    for i in range(size):
        p, q = top[MASS + i], other[MASS + i]
        high_high, high_top = gram[HIGH_HIGH + i], gram[HIGH_TOP + i]
        high_other = gram[HIGH_OTHER + i]
        top_top, other_other = gram[TOP_TOP + i], gram[OTHER_OTHER + i]
        total = w_high * w_high * high_high + w_top * w_top * top_top
        total += w_other * w_other * other_other
        total += 2.0 * w_high * (w_top * high_top + w_other * high_other)
        high, low_top, low_other = np.sqrt(high_high), np.sqrt(top_top), np.sqrt(other_other)
        total, kd = np.sqrt(max(total, 0.0)), whole[NORM_KD + i]
        found[AT.mass_top + i], found[AT.mass_other + i] = p, q
        logs = p * gram[LOG_TOP + i] + q * gram[LOG_OTHER + i]
        found[AT.value_high + i] = -square * logs
        found[AT.value_low_top + i] = square * top[VALUE + i] * top[INVERSE + i]
        found[AT.value_low_other + i] = square * other[VALUE + i] * other[INVERSE + i]
        found[AT.norm_high + i], found[AT.norm_low_top + i] = (
            temperature * high,
            temperature * low_top,
        )
        found[AT.norm_low_other + i] = temperature * low_other
        found[AT.norm_total + i], found[AT.norm_kd + i] = temperature * total, temperature * kd
        found[AT.value_kd + i], found[AT.entropy + i] = (
            square * whole[VALUE_KD + i],
            whole[ENTROPY + i],
        )
        with_high = high_high + p * high_top + q * high_other
        with_top, with_other = high_top + p * top_top, high_other + q * other_other
        with_total = w_high * with_high + w_top * with_top + w_other * with_other
        unit_high, unit_top, unit_other = 1.0 / high, 1.0 / low_top, 1.0 / low_other
        unit = 1.0 / kd
        found[AT.cosine_high_kd + i] = with_high * unit_high * unit
        found[AT.cosine_low_top_kd + i] = with_top * unit_top * unit
        found[AT.cosine_low_other_kd + i] = with_other * unit_other * unit
        found[AT.cosine_total_kd + i] = with_total / total * unit
        found[AT.cosine_high_low_top + i] = high_top * unit_high * unit_top
        found[AT.cosine_high_low_other + i] = high_other * unit_high * unit_other


@no_type_check
@exact
def share_out(size, weights, found):
    """Fill in each term's part of the sum of the norms, as weighted and inside plain KD."""
    w_high, w_top, w_other = weights
    for i in range(size):
        high, low_top = found[AT.norm_high + i], found[AT.norm_low_top + i]
        low_other = found[AT.norm_low_other + i]
        p, q = found[AT.mass_top + i], found[AT.mass_other + i]
        inverse = 1.0 / (w_high * high + w_top * low_top + w_other * low_other)
        found[AT.share_high + i] = w_high * high * inverse
        found[AT.share_low_top + i] = w_top * low_top * inverse
        found[AT.share_low_other + i] = w_other * low_other * inverse
        inverse = 1.0 / (high + p * low_top + q * low_other)
        found[AT.kd_share_high + i] = high * inverse
        found[AT.kd_share_low_top + i] = p * low_top * inverse
        found[AT.kd_share_low_other + i] = q * low_other * inverse


@no_type_check
@summed
def add_up(rows, size, sums, counts):
    """Add each statistic's sum over the samples that have a value, and their number."""
    for row in range(len(sums)):
        total, count = 0.0, float(size)
        for i in range(size):
            total += rows[row, i]
        if not abs(total) < np.inf:  # some have none
            total, count = 0.0, 0.0
            for i in range(size):
                if abs(rows[row, i]) < np.inf:
                    total += rows[row, i]
                    count += 1.0
        sums[row] += total
        counts[row] += count


@no_type_check
@exact
def collect(p, e, ratio, shift, entropy, kd, temperature, weights, ks, sums, counts, each):
    """Add the sums over the samples to ``sums`` and ``counts``, one row a k of ``ks``.

    ``each`` (k, s, n) takes the samples' own statistics, where it has rows.
    """
    classes, samples = p.shape
    others, tops = np.ones((classes, SIZE)), np.ones((2, SIZE))
    gram, whole = np.empty(7 * LANES), np.empty(3 * LANES)
    rows = np.empty((sums.shape[1], LANES))
    found = rows.reshape(-1)
    for start in range(0, samples, LANES):
        lanes = slice(start, min(start + LANES, samples))
        size, moved = lanes.stop - start, shift[lanes]
        begin(others[classes - 1], p[classes - 1, lanes], e[classes - 1, lanes], moved)
        for row in range(classes - 2, -1, -1):
            of_class = p[row, lanes], e[row, lanes], ratio[row, lanes]
            add_class(others[row + 1], others[row], *of_class, moved)
        whole[VALUE_KD : VALUE_KD + size] = others[0, VALUE : VALUE + size]
        whole[NORM_KD : NORM_KD + size] = kd[lanes]
        whole[ENTROPY : ENTROPY + size] = entropy[lanes]
        begin(tops[1], p[0, lanes], e[0, lanes], moved)
        place = 0
        for k in range(1, classes):
            top, other = tops[k % 2], others[k]
            if k > 1:
                of_class = p[k - 1, lanes], e[k - 1, lanes], ratio[k - 1, lanes]
                add_class(tops[(k - 1) % 2], top, *of_class, moved)
            if place < len(ks) and ks[place] == k:
                multiply(top, other, moved, gram)
                state(top, other, gram, whole, size, temperature, weights, found)
                share_out(size, weights, found)
                add_up(rows, size, sums[place], counts[place])
                if len(each):
                    each[place, :, lanes] = rows[:, :size]
                place += 1
