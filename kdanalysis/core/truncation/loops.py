"""Both distributions of a row over a large vocabulary, and sums over what is not in the top K.

Compiled loops over the classes of a row, which then stay in the cache; float64 inside.
"""

from typing import no_type_check

import numpy as np

from kdanalysis.core.softened import LEAST, reordered
from kdanalysis.core.sweep.elementary import exact, exp, widest
from kdanalysis.core.truncation.distances import BLOCK, CELLS, distances

SUMS = 9  # p, e, q, pp, pe, ee, pq, qq, h of a group of classes; see ``algebra.Group``


@no_type_check
@reordered
def exponentials(logits, peak, inverse, x):
    """Fill x with exp((logits - peak) / T), and return their sum."""
    widest()
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
    widest()
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
@exact
def fill_factors(p, q, of_p, of_q, ks, found):
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
def collect(student, teacher, best, chosen, ks, inverse, p, q, top, tail, entropy, factors, apart):
    """Fill in what is to be known of every row, while both of its distributions are in cache.

    Args:
        student: logits (n, c).
        teacher: logits (n, c).
        best: the student's largest class (n,).
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
    cells, flags = np.empty(CELLS, np.int64), np.empty(BLOCK, np.uint8)
    listed = np.empty(BLOCK + 1, np.int64)
    for i in range(len(student)):
        one, other = p[i % len(p)], q[i % len(q)]
        peak_s, peak_t = np.float64(student[i, best[i]]), np.float64(teacher[i, chosen[i, 0]])
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
        fill_factors(top[0, i], top[1, i], tail[i, 0], tail[i, 2], ks, factors[i])
        distances(one, other, factors[i], sums, cells, flags, listed, apart[i])


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
