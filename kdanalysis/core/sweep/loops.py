"""The sweep as compiled loops, for processors: what is known of a sample stays in the cache.

The same as ``groups`` and ``algebra``, which write it as operations on whole arrays; computed in
float64 whatever the logits are. Loops over samples are innermost and vectorised; they hold no
lock, so that threads help. A group of classes is a record of seven numbers a sample, and a larger
one is merged of two: for every k of single classes, for a few k of the classes between them, which
then need no order. With a and b the parts, R = E / P, and g = R - R_whole of a part,

    M = sum_parts M + g (2 C + g A)            M = ||Q v||^2, C = <Q v, p>, A = ||p||^2
    L = sum_parts L - P log(1 + g P / Q)       L = P KL(p|g || q|g)
"""

from collections import namedtuple
from typing import no_type_check

import numpy as np

from kdanalysis.core.sweep.algebra import DEFINED, PLAIN, REACH
from kdanalysis.core.sweep.distributions import (
    LANES,
    distribute,
    gather_up,
    lay_across,
    rows_for,
)
from kdanalysis.core.sweep.elementary import exact, log_ratios, sum_from, widest
from kdanalysis.core.sweep.groups import ROUNDING

# Of a group: P, E = Q - shift P, R = E / P, A, C, M and L.
MASS, EXCESS, RATIO, SQUARES, ALONG, WITHIN, VALUE = range(0, 7 * LANES, LANES)
# Of a group, over T^2: P, Q - P, ||v||^2, <v, q/Q>, ||q/Q||^2, KL and P log(Q/P).
SIDE_MASS, CHANGE, NORM, TURNED, STUDENT, LOSS, LOG = range(0, 7 * LANES, LANES)
# Of a sample, whatever k: value of kd over T^2, norm of its gradient over T and 1 over it, entropy.
VALUE_KD, NORM_KD, UNIT_KD, ENTROPY = range(0, 4 * LANES, LANES)
NAMES = (*PLAIN, *DEFINED)
AT = namedtuple("Place", NAMES)(*range(0, len(NAMES) * LANES, LANES))
STEEP = REACH[next(iter(REACH))]  # of float64


@no_type_check
@exact
def grow(group, part, shift, own, side):
    """Add a part to a group, and fill in the ``side`` of the split that it is then.

    Q - P is the group's ``own``, or else what stands there already.
    """
    widest()
    for i in range(LANES):
        mass_a, mass_b = group[MASS + i], part[MASS + i]
        ratio_a, ratio_b = group[RATIO + i], part[RATIO + i]
        mass, excess = mass_a + mass_b, group[EXCESS + i] + part[EXCESS + i]
        student = excess + mass * shift[i]
        both = 1.0 / (mass * student)
        inverse, inverse_q = both * student, both * mass
        ratio, gap, scale = excess * inverse, ratio_a - ratio_b, mass * inverse_q
        g_a, g_b = gap * mass_b * inverse, -gap * mass_a * inverse
        change = excess - mass * (1.0 - shift[i])
        change = 0.0 if change * change <= ROUNDING * mass * mass else change
        change = own * change + (1.0 - own) * side[CHANGE + i]
        of_a, of_b, log = log_ratios(
            *(g_a * scale, (ratio_a + shift[i]) * scale),
            *(g_b * scale, (ratio_b + shift[i]) * scale),
            *(change * inverse, ratio + shift[i]),
        )
        value = group[VALUE + i] + part[VALUE + i] - (of_a * mass_a + of_b * mass_b)
        squares_a, squares_b = g_a * group[SQUARES + i], g_b * part[SQUARES + i]
        within = g_a * (2.0 * group[ALONG + i] + squares_a)
        within += g_b * (2.0 * part[ALONG + i] + squares_b)
        within += group[WITHIN + i] + part[WITHIN + i]
        along = group[ALONG + i] + part[ALONG + i] + (squares_a + squares_b)
        squares = group[SQUARES + i] + part[SQUARES + i]
        within, value = max(within, 0.0), max(value, 0.0)
        group[MASS + i], group[EXCESS + i], group[RATIO + i] = mass, excess, ratio
        group[SQUARES + i], group[ALONG + i] = squares, along
        group[WITHIN + i], group[VALUE + i] = within, value
        along, spread = along * inverse * inverse_q, squares * inverse * inverse
        norm = within * inverse_q * inverse_q
        none = norm <= ROUNDING * spread
        turned = 0.0 if none else norm + along
        side[SIDE_MASS + i], side[CHANGE + i], side[NORM + i] = mass, change, 0.0 if none else norm
        side[TURNED + i], side[STUDENT + i] = turned, turned + along + spread
        side[LOSS + i], side[LOG + i] = value * inverse, mass * log


@no_type_check
@exact
def state(top, other, whole, temperature, weights, found):
    """Fill in masses, values, norms, cosines and shares, T^2 included; NaN where there is none."""
    widest()
    square = temperature * temperature
    w_high, w_top, w_other = weights
    for i in range(LANES):
        p, q, change = top[SIDE_MASS + i], other[SIDE_MASS + i], top[CHANGE + i]
        top_top, other_other = top[NORM + i], other[NORM + i]
        high_high = (top[STUDENT + i] + other[STUDENT + i]) * change * change
        high_top, high_other = top[TURNED + i] * change, -other[TURNED + i] * change
        total = w_high * w_high * high_high + w_top * w_top * top_top
        total += w_other * w_other * other_other
        total += 2.0 * w_high * (w_top * high_top + w_other * high_other)
        high, low_top, low_other = np.sqrt(high_high), np.sqrt(top_top), np.sqrt(other_other)
        total, unit = np.sqrt(max(total, 0.0)), whole[UNIT_KD + i]
        found[AT.mass_top + i], found[AT.mass_other + i] = p, q
        found[AT.value_high + i] = -square * (top[LOG + i] + other[LOG + i])
        found[AT.value_low_top + i] = square * top[LOSS + i]
        found[AT.value_low_other + i] = square * other[LOSS + i]
        found[AT.norm_high + i] = temperature * high
        found[AT.norm_low_top + i] = temperature * low_top
        found[AT.norm_low_other + i] = temperature * low_other
        found[AT.norm_total + i] = temperature * total
        found[AT.square_high + i] = square * high_high
        found[AT.square_low_top + i] = square * top_top
        found[AT.square_low_other + i] = square * other_other
        found[AT.inner_high_low_top + i] = square * high_top
        found[AT.inner_high_low_other + i] = square * high_other
        unit_high, unit_top = inverses(high, low_top)
        unit_other, unit_total = inverses(low_other, total)
        with_high = high_high + p * high_top + q * high_other
        with_top, with_other = high_top + p * top_top, high_other + q * other_other
        found[AT.inner_high_kd + i] = square * with_high
        found[AT.inner_low_top_kd + i] = square * with_top
        found[AT.inner_low_other_kd + i] = square * with_other
        with_total = w_high * with_high + w_top * with_top + w_other * with_other
        found[AT.cosine_high_kd + i] = with_high * unit_high * unit
        found[AT.cosine_low_top_kd + i] = with_top * unit_top * unit
        found[AT.cosine_low_other_kd + i] = with_other * unit_other * unit
        found[AT.cosine_total_kd + i] = with_total * unit_total * unit
        found[AT.cosine_high_low_top + i] = high_top * unit_high * unit_top
        found[AT.cosine_high_low_other + i] = high_other * unit_high * unit_other
        of_high, of_top, of_other = w_high * high, w_top * low_top, w_other * low_other
        in_top, in_other = p * low_top, q * low_other
        weighted, plain = inverses(of_high + of_top + of_other, high + in_top + in_other)
        found[AT.share_high + i], found[AT.kd_share_high + i] = of_high * weighted, high * plain
        found[AT.share_low_top + i] = of_top * weighted
        found[AT.share_low_other + i] = of_other * weighted
        found[AT.kd_share_low_top + i] = in_top * plain
        found[AT.kd_share_low_other + i] = in_other * plain


@no_type_check
@exact
def inverses(a, b):
    """1 / a and 1 / b by one division; NaN of 0."""
    safe_a, safe_b = a if a > 0.0 else 1.0, b if b > 0.0 else 1.0
    both = 1.0 / (safe_a * safe_b)
    return both * safe_b if a > 0.0 else np.nan, both * safe_a if b > 0.0 else np.nan


@no_type_check
@exact
def state_whole(whole, temperature, found):
    """Fill in what does not depend on k, T^2 included."""
    for i in range(LANES):
        kd = whole[NORM_KD + i]
        whole[UNIT_KD + i] = 1.0 / kd
        found[AT.value_kd + i] = temperature * temperature * whole[VALUE_KD + i]
        found[AT.norm_kd + i], found[AT.entropy + i] = temperature * kd, whole[ENTROPY + i]
        found[AT.square_kd + i] = temperature * temperature * kd * kd


@no_type_check
@exact
def add_up(found, size, sums, counts):
    """Add each statistic's sum over the first ``size`` lanes that have it, and their number."""
    for kind in range(len(sums)):
        total, count = sum_from(found, kind * LANES, LANES), float(size)
        if size < LANES or not abs(total) < np.inf:  # some have none
            total, count = 0.0, 0.0
            for i in range(kind * LANES, kind * LANES + size):
                if abs(found[i]) < np.inf:
                    total += found[i]
                    count += 1.0
        sums[kind] += total
        counts[kind] += count


@no_type_check
@exact
def scan(parts, shift, whole, temperature, weights, members, found, others, sums, counts, each):
    """Add up the ``members``, a lane each: the other group from the last part, then the top one."""
    size = len(members)
    group, top = np.zeros(7 * LANES), np.zeros(7 * LANES)
    for row in range(len(parts) - 1, -1, -1):
        grow(group, parts[row], shift, 1.0, others[row])
    whole[VALUE_KD : VALUE_KD + LANES] = others[0, LOSS : LOSS + LANES]
    state_whole(whole, temperature, found)
    group[:] = 0.0
    for row in range(1, len(parts)):
        for i in range(LANES):
            top[CHANGE + i] = -others[row, CHANGE + i]
        grow(group, parts[row - 1], shift, 0.0, top)
        state(top, others[row], whole, temperature, weights, found)
        if len(each):
            for i in range(size):
                each[members[i], row - 1] = found[i::LANES]
        else:
            add_up(found, size, sums[row - 1], counts[row - 1])


@no_type_check
@exact
def collect(student, teacher, extremes, temperature, weights, ends, sums, counts, each, steep):
    """Add up the samples within REACH at one T, or write each one down where ``each`` has rows.

    Args:
        student: logits (n, c), classes in the order of the groups.
        teacher: the same.
        extremes: largest logit of both and the larger span (n, 3).
        temperature: T.
        weights: of high, low_top and low_other.
        ends: where the parts end, ascending (m,); the last is c.
        sums: (m - 1, s), added to.
        counts: of samples that have a value; the same shape, added to.
        each: (n or 0, m - 1, s), filled in.
        steep: (n,), set where a sample is beyond REACH, and not looked at.
    """
    samples, classes = student.shape
    apart = len(ends) == classes  # every class is a part
    p, e, ratio = rows_for(LANES if apart else 1, classes)
    parts, others = np.zeros((len(ends), 7 * LANES)), np.zeros((len(ends), 7 * LANES))
    parts[:, :ALONG] = 1.0
    found = np.ones(len(NAMES) * LANES)
    whole, shift = np.ones(4 * LANES), np.zeros(LANES)
    members, lane = np.empty(LANES, np.int64), 0
    for sample in range(samples):
        top_s, top_t, span = extremes[sample]
        steep[sample] = span > STEEP * temperature
        if not steep[sample]:
            row = lane if apart else 0
            own_p, own_e, own_ratio = p[row, :classes], e[row, :classes], ratio[row, :classes]
            shift[lane], whole[NORM_KD + lane], whole[ENTROPY + lane] = distribute(
                student[sample],
                teacher[sample],
                *(top_s, top_t, temperature),
                *(own_p, own_e, own_ratio),
            )
            start = 0
            for j in range(0 if apart else len(ends)):
                of = slice(start, ends[j])
                gather_up(own_p[of], own_e[of], own_ratio[of], shift[lane], parts[j, lane::LANES])
                start = ends[j]
            members[lane] = sample
            lane += 1
        if lane == LANES or (sample == samples - 1 and lane):
            if apart:
                lay_across(p, e, ratio, parts)
            settings = temperature, weights, members[:lane]
            scan(parts, shift, whole, *settings, found, others, sums, counts, each)
            lane = 0
