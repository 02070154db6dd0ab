"""Sums over the classes of a row of |factor q - p|, for the factors of every K.

Of few factors every term is added up. Of many a class is looked at once, whatever their number: the
sign of factor q - p is that of q / p less the limit 1 / factor, and between two limits sums of p
and of q are enough.
"""

from typing import no_type_check

import numpy as np

from kdanalysis.core.softened import reordered
from kdanalysis.core.sweep.elementary import bits_of, exact, widest

BLOCK = 1024  # classes whose probabilities stay in the first cache
CELLS = 1024  # of a table of ratios, which stays there too
FEW = 12  # factors whose terms are added up sooner than the classes are sorted
TOGETHER = 4  # factors whose sums stay in registers


@no_type_check
@reordered
def add_terms(p, q, factors, found):
    """Add the sums of |factor q - p| for TOGETHER factors."""
    widest()
    a, b, c, d = factors
    of_a, of_b, of_c, of_d = 0.0, 0.0, 0.0, 0.0
    for j in range(len(p)):
        of_a += abs(a * q[j] - p[j])
        of_b += abs(b * q[j] - p[j])
        of_c += abs(c * q[j] - p[j])
        of_d += abs(d * q[j] - p[j])
    found[0] += of_a
    found[1] += of_b
    found[2] += of_c
    found[3] += of_d


@no_type_check
@exact
def term_by_term(p, q, factors, found):
    """Fill in the sums of |factor q - p| for few factors."""
    most = len(factors) - 1
    sums = np.zeros(most + TOGETHER)
    for start in range(0, len(p), BLOCK):
        one, other = p[start : start + BLOCK], q[start : start + BLOCK]
        for at in range(0, most + 1, TOGETHER):
            some = (
                factors[at],
                factors[min(at + 1, most)],
                factors[min(at + 2, most)],
                factors[min(at + 3, most)],
            )
            add_terms(one, other, some, sums[at : at + TOGETHER])
    found[:] = sums[: most + 1]


@no_type_check
@reordered
def beyond(p, q, low, high, sums):
    """Add p and q of the classes with q / p up to the lowest limit, and above the highest."""
    widest()
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
def between(p, q, low, high, flags, found):
    """List the classes that ``beyond`` leaves, and return how many they are.

    Eight flags are one word: where none of them is set the classes are passed over together.
    """
    for j in range(len(p)):
        flags[j] = (q[j] > low * p[j]) & (q[j] <= high * p[j])
    flags[len(p) :] = 0
    count, words = 0, flags.view(np.uint64)
    for word in range(len(words)):
        if words[word]:
            for j in range(8 * word, 8 * word + 8):
                found[count] = j
                count += flags[j]
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
def distances(p, q, factors, sums, cells, flags, listed, found):
    """Fill in the sum over a row's classes of |factor q - p|, for each of many factors above 0."""
    if len(factors) <= FEW:
        term_by_term(p, q, factors, found)
        return
    order = np.argsort(-factors)
    limits = 1.0 / factors[order]
    first, count = guide(limits, cells)
    sums[:] = 0.0
    for start in range(0, len(p), BLOCK):
        one, other = p[start : start + BLOCK], q[start : start + BLOCK]
        beyond(one, other, limits[0], limits[-1], sums)
        there = listed[: between(one, other, limits[0], limits[-1], flags, listed)]
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
@reordered
def distance(p, q, of_p, of_q):
    """Sum of |of_p p - of_q q| over the classes."""
    total = 0.0
    for j in range(len(p)):
        total += abs(of_p * p[j] - of_q * q[j])
    return total
