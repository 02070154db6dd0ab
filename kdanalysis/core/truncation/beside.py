"""A student beside the classes that are known of its teacher: compiled loops, float64 inside.

Over all other classes the teacher has c q; see ``completed``.
"""

from typing import no_type_check

import numpy as np

from kdanalysis.core.peaks import blocks_of, fill_largest
from kdanalysis.core.softened import LEAST
from kdanalysis.core.sweep.elementary import exact, exp, summed, widest
from kdanalysis.core.truncation.distances import distance
from kdanalysis.core.truncation.gradients import add
from kdanalysis.core.truncation.loops import SUMS, fill_factors

ROUNDING = 1e-12  # of a log-probability: so near both sides are the same, or it had a direction


@no_type_check
@exact
def _exp(x):
    """Exponential of a number up to 0, whatever it is."""
    return exp(max(x, LEAST))


@no_type_check
@summed
def moments(logits, peak, inverse, kept):
    """Sums over the kept classes of x = exp((logit - peak) / T), of its square, and of x log x.

    Where a logit is not finite, the last one is not.
    """
    widest()
    total, square, along = 0.0, 0.0, 0.0
    for j in range(len(logits)):
        z = (np.float64(logits[j]) - peak) * inverse
        x = _exp(z) if kept[j] else 0.0
        total += x
        square += x * x
        along += x * z
    return total, square, along


@no_type_check
@exact
def beside(logits, ids, inverse, theirs, found):
    """Fill in what is to be known of every row's softmax(logits / T) beside some of its classes.

    Args:
        logits: (n, c).
        ids: classes (n, m), below 0 where there is none.
        inverse: 1 / T.
        theirs: 0 (n, k); filled in with the classes of the largest logits, in that order.
        found: logsumexp of all logits / T, then over the other classes the sums of q, q^2 and
            q log q (n, 4); filled in.
    """
    k, kept = theirs.shape[1], np.ones(logits.shape[1], np.uint8)
    peaks, best = np.empty(blocks_of(logits.shape[1], k), logits.dtype), np.empty(k, logits.dtype)
    for i in range(len(logits)):
        fill_largest(logits[i], peaks, best, theirs[i])
        peak, total = np.float64(logits[i, theirs[i, 0]]), 0.0
        for j in ids[i]:
            if j >= 0:
                total += _exp((np.float64(logits[i, j]) - peak) * inverse)
                kept[j] = 0
        mass, square, along = moments(logits[i], peak, inverse, kept)
        for j in ids[i]:
            if j >= 0:
                kept[j] = 1
        total += mass
        log_total = np.log(total)
        found[i, 0], found[i, 1] = peak * inverse + log_total, mass / total
        found[i, 2], found[i, 3] = square / total / total, (along - log_total * mass) / total


@no_type_check
@exact
def complete(logits, ids, inside, tail, ks, inverse, about, top, tails, entropy, factors, apart):
    """Fill in what ``collect`` does, of rows whose teacher has c q where it is not known.

    Args:
        logits: the student's (n, c).
        ids: known classes, the teacher's largest first, below 0 where there is none (n, m).
        inside: the teacher's log-probabilities of them (n, m).
        tail: log of the mass of its others (n,).
        ks: every K, ascending, the last one k.
        inverse: 1 / T.
        about: as ``beside`` gives it (n, 4).
        top: p, q and log(q/p) of the first k known classes (3, n, k); filled in.
        tails: SUMS over the other classes, then the sum of |q - p| (n, 10); filled in.
        entropy: of p, nats (n,); filled in.
        factors: P_O / Q_O of every K, then P_O (n, 2 ks); filled in.
        apart: sums of |factor q - p| over the classes that are not among the top (n, 2 ks); filled
            in.
    """
    most = top.shape[2]
    p, q = np.zeros((2, ids.shape[1] - most))
    for i in range(len(ids)):
        whole = _log_of_sum(inside[i], tail[i])
        mass, square, logs = about[i, 1], about[i, 2], about[i, 3]
        log_c = 0.0 if mass == 0.0 else _same_if_near(tail[i] - whole - np.log(mass), 0.0)
        c, less = np.exp(log_c), -np.expm1(log_c)
        of_c = c * mass * log_c if c > 0.0 else 0.0
        sums = tails[i]
        sums[0], sums[1], sums[2] = c * mass, less * mass, mass
        sums[3], sums[4], sums[5] = c * c * square, c * less * square, less * less * square
        sums[6], sums[7], sums[8] = c * square, square, less * mass + of_c
        sums[SUMS], entropy[i] = mass * abs(less), -of_c - c * logs
        for rank in range(ids.shape[1]):
            j, one, other, u = ids[i, rank], 0.0, 0.0, 0.0
            if j >= 0:
                log_q = np.float64(logits[i, j]) * inverse - about[i, 0]
                log_p = _same_if_near(inside[i, rank] - whole, log_q)
                one, other, u = _exp(log_p), _exp(log_q), log_q - log_p
                entropy[i] -= one * log_p
            if rank < most:
                top[0, i, rank], top[1, i, rank], top[2, i, rank] = one, other, u
            else:
                p[rank - most], q[rank - most] = one, other
                add(sums, one, other, u)
                sums[SUMS] += abs(other - one)
        fill_factors(top[0, i], top[1, i], sums[0], sums[2], ks, factors[i])
        for at in range(factors.shape[1]):
            apart[i, at] = abs(factors[i, at] - c) * mass
            if len(p):
                apart[i, at] += distance(p, q, 1.0, factors[i, at])


@no_type_check
@exact
def _log_of_sum(logs, last):
    """Logarithm of the sum of the exponentials of all numbers and of one more."""
    high, total = last, 0.0
    for one in logs:
        high = max(high, one)
    for one in logs:
        total += _exp(one - high)
    return high + np.log(total + _exp(last - high))


@no_type_check
@exact
def _same_if_near(log, other):
    """The other logarithm where both differ by rounding."""
    return other if abs(log - other) <= ROUNDING else log
