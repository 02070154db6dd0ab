"""Both sides softened as compiled loops: exponentials of some samples, and a few of their numbers.

Of a side are kept the exponentials of all classes, 0 of the chosen ones, and a few numbers: those
of the chosen classes, group by group, and then the weight of each group's largest class beside the
largest of all. Inside, all is float64. No loop over samples takes rows as arrays of their own: to
count who holds them takes longer than many a row.
"""

from typing import no_type_check

import numpy as np

from kdanalysis.core.sweep.elementary import compiled, exact, exp, larger, widest

# The largest and the sum of numbers may be reordered: vector registers then hold them.
reordered = compiled("contract", "reassoc", "nsz", "nnan")
LEAST = -700.0  # of an exponent; what is below has no weight beside the largest, exp(0)
NUMBERS = 2048  # of a side, looked at together


@no_type_check
@exact
def together(logits):
    """How many samples to look at together; the last time a few may be looked at again."""
    most = max(1, NUMBERS // logits.shape[1])
    times = max(1, (len(logits) + most - 1) // most)
    return max(1, (len(logits) + times - 1) // times)


@no_type_check
@reordered
def peaks_of(logits, start, peaks):
    """Fill in the largest logit of samples, the first of which is ``start``."""
    widest()
    for i in range(len(peaks)):
        peak = logits[start + i, 0]
        for j in range(logits.shape[1]):
            peak = larger(logits[start + i, j], peak)
        peaks[i] = peak


@no_type_check
@reordered
def exponentials(logits, start, peaks, rate, x, totals):
    """Fill x with exp((logits - peak) / T) of every sample, and in their sums."""
    widest()
    for i in range(len(peaks)):
        total, shift = 0.0, peaks[i] * rate
        for j in range(x.shape[1]):
            x[i, j] = exp(max(np.float64(logits[start + i, j]) * rate - shift, LEAST))
            total += x[i, j]
        totals[i] = total


@no_type_check
@exact
def _choose(logits, start, classes, ends, rate, kept, few, peaks, shifts):
    """Keep the others' logits, and fill in the few exponents, the last group's peak, all / T.

    After the groups' peaks in ``shifts`` stands the largest.
    """
    k, last = classes.shape[1], len(ends) - 1
    for i in range(len(kept)):
        for j in range(kept.shape[1]):
            kept[i, j] = logits[start + i, j]
        for j in range(k):
            few[i, j] = kept[i, classes[start + i, j]]
        for j in range(k):
            kept[i, classes[start + i, j]] = -np.inf
    peaks_of(kept, 0, peaks)
    for i in range(len(kept)):
        shifts[i, last] = whole = peaks[i] * rate
        for g in range(last):
            top = few[i, ends[g]]
            for j in range(ends[g], ends[g + 1]):
                top = max(top, few[i, j])
            for j in range(ends[g], ends[g + 1]):
                few[i, j] = max((few[i, j] - top) * rate, LEAST)
            shifts[i, g] = top * rate
            whole = max(whole, shifts[i, g])
        shifts[i, last + 1] = whole
        for g in range(last + 1):
            few[i, k + g] = max(shifts[i, g] - whole, LEAST)


@no_type_check
@exact
def soften(logits, start, classes, ends, rate, kept, x):
    """Fill in x, of one side of some samples, and return the few, shifts, totals and shares.

    Of every group its peak / T, the sum beside the peak, and its share of all; the first two also
    of all groups, after them.
    """
    (n, _), k, last = x.shape, classes.shape[1], len(ends) - 1
    few, soft = np.empty((n, k + last + 1)), np.empty((n, k + last + 1))
    shifts, totals, mass = np.empty((n, last + 2)), np.empty((n, last + 2)), np.empty((n, last + 1))
    peaks, sums = np.empty(n), np.empty(n)
    _choose(logits, start, classes, ends, rate, kept, few, peaks, shifts)
    exponentials(kept, 0, peaks, rate, x, sums)
    exponentials(few.reshape(1, few.size), 0, np.zeros(1), 1.0, soft.reshape(1, few.size), peaks)
    for i in range(n):
        whole = 0.0
        for g in range(last + 1):
            total, end = (sums[i], ends[g]) if g == last else (0.0, ends[g + 1])
            for j in range(ends[g], end):
                x[i, classes[start + i, j]] = 0.0
                total += soft[i, j]
            for j in range(ends[g], end):
                soft[i, j] /= total
            totals[i, g], mass[i, g] = total, total * soft[i, k + g]
            whole += mass[i, g]
        totals[i, last + 1] = whole
        for g in range(last + 1):
            mass[i, g] /= whole
    return soft, shifts, totals, mass
