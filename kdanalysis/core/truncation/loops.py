"""Both distributions of a row over a large vocabulary, and sums over what is not in the top K.

Compiled loops over the classes of a row, which then stay in the cache; float64 inside.
"""

from typing import no_type_check

import numpy as np

from kdanalysis.core.loops import LEAST, peak_of, reordered
from kdanalysis.core.sweep.elementary import bits_of, exact, exp

SUMS = 9  # p, e, q, pp, pe, ee, pq, qq, h of a group of classes; see ``algebra.Group``
BLOCK = 1024  # classes whose probabilities stay in the first cache
CELLS = 1024  # of a table of ratios, which stays there too


@no_type_check
@reordered
def exponentials(logits, peak, inverse, x):
    """Fill x with exp((logits - peak) / T), and return their sum."""
    total = 0.0
    for j in range(len(x)):
        x[j] = exp(max((np.float64(logits[j]) - peak) * inverse, LEAST))
        total += x[j]
    return total


@no_type_check
@reordered
def outside(student, teacher, peak, inverse, shift, of_p, of_q, p, q, found):
    """Divide both sides by their sums; sums over the classes that are left in p and q.

    After them come the sum of |q - p| and that of p times its logit.
    """
    sum_p, sum_e, sum_q, pp, pe, ee = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    pq, qq, value, distance, along = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(p)):
        u = (np.float64(student[j]) - np.float64(teacher[j])) * inverse - shift
        one, other = of_p * p[j], of_q * q[j]
        e = other - one
        p[j], q[j] = one, other
        sum_p += one
        sum_e += e
        sum_q += other
        pp += one * one
        pe += one * e
        ee += e * e
        pq += one * other
        qq += other * other
        value += e - one * u
        distance += abs(e)
        along += one * ((np.float64(teacher[j]) - peak) * inverse)
    found[0], found[1], found[2], found[3], found[4] = sum_p, sum_e, sum_q, pp, pe
    found[5], found[6], found[7], found[8], found[9] = ee, pq, qq, value, distance
    return along


@no_type_check
@reordered
def beyond(p, q, low, high, sums):
    """Add p and q of the classes with q / p up to the lowest limit, and above the highest."""
    below_p, below_q, above_p, above_q = 0.0, 0.0, 0.0, 0.0
    for j in range(len(p)):
        below, above = q[j] <= low * p[j], q[j] > high * p[j]
        below_p += p[j] if below else 0.0
        below_q += q[j] if below else 0.0
        above_p += p[j] if above else 0.0
        above_q += q[j] if above else 0.0
    sums[0, 0, 0] += below_p
    sums[0, 0, 1] += below_q
    sums[-1, 0, 0] += above_p
    sums[-1, 0, 1] += above_q


@no_type_check
@exact
def between(p, q, low, high, found):
    """List the classes that ``beyond`` leaves, and return how many they are."""
    count = 0
    for j in range(len(p)):
        found[count] = j
        count += (q[j] > low * p[j]) & (q[j] <= high * p[j])
    return count


@no_type_check
@exact
def guide(limits, cells):
    """Fill in how many limits are below each cell of ratios, and return how a ratio finds its cell.

    The bits of a number above 0 grow with it: without the last ones, and less those of the first
    limit, they are the number of its cell.
    """
    count, last = 44, len(limits) - 1
    while (bits_of(limits[last]) >> count) - (bits_of(limits[0]) >> count) >= len(cells):
        count += 1
    first, below = bits_of(limits[0]) >> count, 0
    for cell in range(len(cells)):
        while below <= last and (bits_of(limits[below]) >> count) < first + cell:
            below += 1
        cells[cell] = below
    return first, count


@no_type_check
@exact
def sort_in(p, q, listed, limits, cells, first, count, sums):
    """Add p and q of the listed classes to the sums of their place among the limits of q / p."""
    last = len(limits) - 1
    for i in range(len(listed)):
        j = listed[i]
        place = cells[min(max((bits_of(q[j] / p[j]) >> count) - first, 0), len(cells) - 1)]
        while place < last and q[j] > limits[place] * p[j]:
            place += 1
        sums[place, i & 3, 0] += p[j]
        sums[place, i & 3, 1] += q[j]


@no_type_check
@exact
def distances(p, q, factors, sums, cells, listed, found):
    """Fill in the sum over a row's classes of |factor q - p|, for each of many factors above 0.

    A class is looked at once, whatever their number: the sign of factor q - p is that of q / p less
    the limit 1 / factor, and between two limits sums of p and of q are enough.
    """
    order = np.argsort(-factors)
    limits = 1.0 / factors[order]
    first, count = guide(limits, cells)
    sums[:] = 0.0
    for start in range(0, len(p), BLOCK):
        one, other = p[start : start + BLOCK], q[start : start + BLOCK]
        beyond(one, other, limits[0], limits[-1], sums)
        there = listed[: between(one, other, limits[0], limits[-1], listed)]
        sort_in(one, other, there, limits, cells, first, count, sums)
    below_p, below_q, above_p, above_q = 0.0, 0.0, 0.0, 0.0
    for rank in range(len(order)):
        below_p += sums[rank, :, 0].sum()
        below_q += sums[rank, :, 1].sum()
        found[order[rank]] = below_p - factors[order[rank]] * below_q
    for rank in range(len(order) - 1, -1, -1):
        above_p += sums[rank + 1, :, 0].sum()
        above_q += sums[rank + 1, :, 1].sum()
        found[order[rank]] += factors[order[rank]] * above_q - above_p


@no_type_check
@exact
def factors_of(p, q, of_p, of_q, ks, found):
    """Fill in P_O / Q_O of every K, then P_O of every K, from the known classes and the others."""
    place = len(ks) - 1
    for j in range(len(p), 0, -1):
        if place >= 0 and ks[place] == j:
            found[place], found[len(ks) + place] = of_p / of_q, of_p
            place -= 1
        of_p += p[j - 1]
        of_q += q[j - 1]


@no_type_check
@exact
def collect(student, teacher, chosen, ks, inverse, p, q, top, tail, entropy, factors, apart):
    """Fill in what is to be known of every row, while both of its distributions are in cache.

    Args:
        student: logits (n, c).
        teacher: logits (n, c).
        chosen: the teacher's largest classes, in that order (n, k).
        ks: every K, ascending, the last one k.
        inverse: 1 / T.
        p: softmax(teacher / T), 0 at the top classes (n, c), or (1, c) for the last one; filled in.
        q: softmax(student / T), likewise.
        top: p, q and log(q/p) of the top classes (3, n, k); filled in.
        tail: SUMS over the other classes, then the sum of |q - p| (n, 10); filled in.
        entropy: of p, nats (n,); filled in.
        factors: P_O / Q_O of every K, then P_O (n, 2 ks); filled in.
        apart: sums of |factor q - p| over the classes that are not among the top (n, 2 ks); filled
            in.
    """
    sums = np.empty((factors.shape[1] + 1, 4, 2))  # by four: no addition waits for the last one
    cells, listed = np.empty(CELLS, np.int64), np.empty(BLOCK, np.int64)
    for i in range(len(student)):
        one, other = p[i % len(p)], q[i % len(q)]
        peak_s, peak_t = np.float64(peak_of(student[i])), np.float64(teacher[i, chosen[i, 0]])
        norm_p = exponentials(teacher[i], peak_t, inverse, one)
        norm_q = exponentials(student[i], peak_s, inverse, other)
        of_p, of_q = 1.0 / norm_p, 1.0 / norm_q
        shift = (peak_s - peak_t) * inverse + np.log(norm_q / norm_p)
        along = 0.0
        for rank in range(chosen.shape[1]):
            j = chosen[i, rank]
            top[0, i, rank], top[1, i, rank] = of_p * one[j], of_q * other[j]
            gap = np.float64(student[i, j]) - np.float64(teacher[i, j])
            top[2, i, rank] = gap * inverse - shift
            along += top[0, i, rank] * ((np.float64(teacher[i, j]) - peak_t) * inverse)
            one[j], other[j] = 0.0, 0.0
        along += outside(
            student[i], teacher[i], peak_t, inverse, shift, of_p, of_q, one, other, tail[i]
        )
        entropy[i] = np.log(norm_p) - along
        factors_of(top[0, i], top[1, i], tail[i, 0], tail[i, 2], ks, factors[i])
        distances(one, other, factors[i], sums, cells, listed, apart[i])


@no_type_check
@reordered
def distance(p, q, of_p, of_q):
    """Sum of |of_p p - of_q q| over the classes."""
    total = 0.0
    for j in range(len(p)):
        total += abs(of_p * p[j] - of_q * q[j])
    return total


@no_type_check
@exact
def top_distances(p, q, ks, of_p, of_q, factors, moved, apart):
    """Add up what of the known classes (n, m) is on either side of every K.

    Args:
        p: probabilities of the teacher (n, m), largest first.
        q: those of the student.
        ks: every K.
        of_p: factors of p on S (n, k).
        of_q: factors of q on S (n, k).
        factors: of q on O, as ``collect`` gives them (n, 2 k).
        moved: sums of |of_p p - of_q q| on S and of |q - p| on O (n, k); added to.
        apart: sums of |factor q - p| on O (n, 2 k); added to.
    """
    many = len(ks)
    for i in range(len(p)):
        for place in range(many):
            k, one, other = ks[place], p[i], q[i]
            moved[i, place] += distance(one[:k], other[:k], of_p[i, place], of_q[i, place])
            moved[i, place] += distance(one[k:], other[k:], 1.0, 1.0)
            for which in range(place, 2 * many, many):
                apart[i, which] += distance(one[k:], other[k:], 1.0, factors[i, which])


@no_type_check
@exact
def overlaps(first, second, place, found):
    """Count the classes that both lists hold in their first k, for every k.

    Args:
        first: classes (n, k), no class twice.
        second: likewise.
        place: -1 for every class (c,); left as it was.
        found: (n, k); filled in.
    """
    for i in range(len(first)):
        for rank in range(first.shape[1]):
            place[first[i, rank]] = rank
            found[i, rank] = 0.0
        for rank in range(first.shape[1]):
            other = place[second[i, rank]]
            if other >= 0:
                found[i, max(rank, other)] += 1.0
        for rank in range(first.shape[1]):
            place[first[i, rank]] = -1
            if rank:
                found[i, rank] += found[i, rank - 1]
