"""Both distributions of a sample, and what the sweep needs of its classes, in compiled loops."""

from math import log
from typing import no_type_check

import numpy as np

from kdanalysis.core.sweep.elementary import exact, exp, expm1, log_ratio, summed, widest
from kdanalysis.core.sweep.groups import NEAR, ROUNDING

LANES = 32  # samples looked at together
CLASS = (1 << 32) - 1  # bits of a key that hold its class


@no_type_check
@exact
def write_keys(bits, keys):
    """Whole numbers in the order of descending logits (n, c), ties by class, from their bits."""
    for i in range(len(bits)):
        for j in range(bits.shape[1]):
            ascending = np.int64(bits[i, j])
            if ascending < 0:  # -0.0 becomes 0
                ascending = -(ascending & 0x7FFFFFFF)
            keys[i, j] = (-ascending << 32) + j


@no_type_check
@exact
def lay_out(keys, student, teacher, ranked, extremes):
    """Put student and teacher (2, n, c) in order; largest logits and larger span (n, 3)."""
    for i in range(len(keys)):
        top_s, top_t = student[i, 0], teacher[i, 0]
        least_s, least_t = top_s, top_t
        for j in range(keys.shape[1]):
            place = keys[i, j] & CLASS
            s, t = student[i, place], teacher[i, place]
            ranked[0, i, j], ranked[1, i, j] = s, t
            top_s, least_s = max(top_s, s), min(least_s, s)
            top_t, least_t = max(top_t, t), min(least_t, t)
        extremes[i, 0], extremes[i, 1] = top_s, top_t
        span = max(np.float64(top_s) - least_s, np.float64(top_t) - least_t)
        extremes[i, 2] = span


@no_type_check
@summed
def distribute(student, teacher, top_s, top_t, temperature, p, e, ratio):
    """Fill in what ``groups.Pair`` holds; return shift, the norm of e - (1 - shift) p, entropy."""
    widest()
    inverse = 1.0 / temperature
    norm_p, norm_q, dot, apart = 0.0, 0.0, 0.0, 0
    for j in range(len(p)):
        x = (teacher[j] - top_t) * inverse
        p[j], e[j] = exp(x), exp((student[j] - top_s) * inverse)
        norm_p += p[j]
        norm_q += e[j]
        dot += p[j] * x
    of_p, of_q = 1.0 / norm_p, 1.0 / norm_q
    for j in range(len(p)):
        p[j], e[j] = p[j] * of_p, e[j] * of_q
        ratio[j] = e[j] / p[j]
        apart += not (NEAR[0] < ratio[j] < NEAR[1])
    shift = 0.0 if apart else 1.0
    if not apart:
        bring_near(student, teacher, inverse, p, e, ratio)
    squares, scale = 0.0, 0.0
    for j in range(len(p)):
        d = e[j] - (1.0 - shift) * p[j]
        squares += d * d
        scale += p[j] * p[j]
    kd = 0.0 if squares <= ROUNDING * scale else np.sqrt(squares)
    return shift, kd, log(norm_p) - dot * of_p


@no_type_check
@summed
def bring_near(student, teacher, inverse, p, e, ratio):
    """Put q - p in e's place, as ``groups.deviation`` does for a student close to its teacher."""
    mean, rest = 0.0, 0.0
    for j in range(len(p)):
        ratio[j] = (student[j] - teacher[j]) * inverse
        mean += p[j] * ratio[j]
    for j in range(len(p)):
        ratio[j] = expm1(ratio[j] - mean)
        rest += p[j] * ratio[j]
    scale = 1.0 / (1.0 + rest)
    for j in range(len(p)):
        ratio[j] = (ratio[j] - rest) * scale
        e[j] = p[j] * ratio[j]


@no_type_check
@summed
def gather_up(p, e, ratio, shift, group):
    """Make a group of classes, in any order: P, E, R, A, C, M and L, as in ``loops``."""
    mass, excess, squares, along, within, value = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(p)):
        mass += p[j]
        excess += e[j]
        squares += p[j] * p[j]
    mean = excess / mass
    inverse = 1.0 / (mean + shift)
    for j in range(len(p)):
        gap = ratio[j] - mean
        v = p[j] * gap
        along += v * p[j]
        within += v * v
        value -= p[j] * log_ratio(gap * inverse, (ratio[j] + shift) * inverse)
    group[0], group[1], group[2], group[3] = mass, excess, mean, squares
    group[4], group[5], group[6] = along, within, max(value, 0.0)


@no_type_check
@exact
def rows_for(rows, classes):
    """Make p, e and ratio of so many samples, which begin at different places of the cache."""
    width = classes // 16 * 16 + 24
    return np.ones((rows, width)), np.ones((rows, width)), np.ones((rows, width))


@no_type_check
@exact
def lay_across(p, e, ratio, parts):
    """Make every class a group of its own: P, E, R and A, as in ``loops``, of all samples."""
    for j in range(len(parts)):
        for i in range(LANES):
            parts[j, i], parts[j, LANES + i] = p[i, j], e[i, j]
            parts[j, 2 * LANES + i], parts[j, 3 * LANES + i] = ratio[i, j], p[i, j] * p[i, j]
