"""Both distributions of a row over a large vocabulary, and sums over what is not in the top K.

Compiled loops over the classes of a row, which then stay in the cache; float64 inside.
"""

from typing import no_type_check

import numpy as np

from kdanalysis.core.loops import LEAST, reordered
from kdanalysis.core.sweep.elementary import exact, exp

SUMS = 9  # p, e, q, pp, pe, ee, pq, qq, h of a group of classes; see ``algebra.Group``
BLOCK = 2048  # classes whose probabilities stay in the first cache while all K look at them


@no_type_check
@reordered
def peak_of(logits):
    """The largest logit."""
    peak = logits[0]
    for j in range(len(logits)):
        peak = max(peak, logits[j])
    return np.float64(peak)


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
def normalise(teacher, peak, inverse, of_p, of_q, p, q):
    """Divide both sides by their sums, and return the sum of p times its logit."""
    along = 0.0
    for j in range(len(p)):
        p[j] *= of_p
        q[j] *= of_q
        along += p[j] * ((np.float64(teacher[j]) - peak) * inverse)
    return along


@no_type_check
@reordered
def outside(student, teacher, inverse, shift, p, q, found):
    """Sums over the classes that are left in p and q, and of |q - p| after them."""
    of_p, of_e, of_q, pp, pe, ee = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    pq, qq, value, distance = 0.0, 0.0, 0.0, 0.0
    for j in range(len(p)):
        u = (np.float64(student[j]) - np.float64(teacher[j])) * inverse - shift
        e = q[j] - p[j]
        of_p += p[j]
        of_e += e
        of_q += q[j]
        pp += p[j] * p[j]
        pe += p[j] * e
        ee += e * e
        pq += p[j] * q[j]
        qq += q[j] * q[j]
        value += e - p[j] * u
        distance += abs(e)
    found[0], found[1], found[2], found[3], found[4] = of_p, of_e, of_q, pp, pe
    found[5], found[6], found[7], found[8], found[9] = ee, pq, qq, value, distance


@no_type_check
@exact
def collect(student, teacher, chosen, inverse, p, q, top, tail, entropy):
    """Fill in both distributions of every row, the top classes taken out of them.

    Args:
        student: logits (n, c).
        teacher: logits (n, c).
        chosen: the teacher's largest classes, in that order (n, k).
        inverse: 1 / T.
        p: softmax(teacher / T), 0 at the top classes (n, c); filled in.
        q: softmax(student / T), likewise.
        top: p, q and log(q/p) of the top classes (3, n, k); filled in.
        tail: SUMS over the other classes, then the sum of |q - p| (n, 10); filled in.
        entropy: of p, nats (n,); filled in.
    """
    for i in range(len(student)):
        peak_s, peak_t = peak_of(student[i]), np.float64(teacher[i, chosen[i, 0]])
        norm_p = exponentials(teacher[i], peak_t, inverse, p[i])
        norm_q = exponentials(student[i], peak_s, inverse, q[i])
        shift = (peak_s - peak_t) * inverse + np.log(norm_q / norm_p)
        along = normalise(teacher[i], peak_t, inverse, 1.0 / norm_p, 1.0 / norm_q, p[i], q[i])
        entropy[i] = np.log(norm_p) - along
        for rank in range(chosen.shape[1]):
            j = chosen[i, rank]
            top[0, i, rank], top[1, i, rank] = p[i, j], q[i, j]
            gap = np.float64(student[i, j]) - np.float64(teacher[i, j])
            top[2, i, rank] = gap * inverse - shift
            p[i, j], q[i, j] = 0.0, 0.0
        outside(student[i], teacher[i], inverse, shift, p[i], q[i], tail[i])


@no_type_check
@reordered
def distance(p, q, factor):
    """Sum of |factor q - p| over the classes."""
    total = 0.0
    for j in range(len(p)):
        total += abs(factor * q[j] - p[j])
    return total


@no_type_check
@exact
def distances(p, q, factors, found):
    """Fill in the ``distance`` of every row (n, c) for each of its factors (n, m), shape (n, m)."""
    found[:] = 0.0
    for i in range(len(p)):
        for start in range(0, p.shape[1], BLOCK):
            one, other = p[i, start : start + BLOCK], q[i, start : start + BLOCK]
            for m in range(found.shape[1]):
                found[i, m] += distance(one, other, factors[i, m])


@no_type_check
@exact
def top_distances(p, q, ks, of_p, of_q, factors, inside, apart, outside):
    """Add up what of the known classes (n, m) is on either side of every K.

    Args:
        p: probabilities of the teacher (n, m), largest first.
        q: those of the student.
        ks: every K.
        of_p: factors of p on S (n, k).
        of_q: factors of q on S (n, k).
        factors: of q on O, for several differences (n, k, 2).
        inside: sums of |of_p p - of_q q| on S (n, k); added to.
        apart: sums of |q - p| on O (n, k); added to.
        outside: sums of |factor q - p| on O (n, k, 2); added to.
    """
    for i in range(len(p)):
        for place in range(len(ks)):
            for j in range(ks[place]):
                inside[i, place] += abs(of_p[i, place] * p[i, j] - of_q[i, place] * q[i, j])
            for j in range(ks[place], p.shape[1]):
                apart[i, place] += abs(q[i, j] - p[i, j])
                for which in range(2):
                    outside[i, place, which] += abs(factors[i, place, which] * q[i, j] - p[i, j])


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
