"""Inner products of cross-entropy's gradient with the terms', as compiled loops for processors.

The same as the operations on whole arrays in ``stacked``, of one temperature: row by row.
"""

from typing import no_type_check

import numpy as np

from kdanalysis.core.softened import reordered
from kdanalysis.core.sweep.elementary import exact, widest


@no_type_check
@exact
def add_products(q, p, ce, rows, ends, found):
    """Add the sums over samples of <ce, term> over T, for high, low_top, low_other and kd.

    Args:
        q: exponentials of the student in the teacher's order (n, c).
        p: of the teacher, likewise.
        ce: gradient of cross-entropy, likewise.
        rows: which samples count (n,).
        ends: every k, ascending, then c.
        found: (4, k); added to.
    """
    many = len(ends) - 1
    top, other = np.empty((2, 4, many))
    for i in range(len(q)):
        if rows[i]:
            _sums(q[i], p[i], ce[i], ends, top, other)
            _add(top, other, found)


@no_type_check
@exact
def _sums(q, p, ce, ends, top, other):
    """Fill in the sums of q, p, ce q and ce p over the first k classes, and over all others.

    Each is added up from its own end.
    """
    many = len(ends) - 1
    sum_q, sum_p, along_q, along_p = 0.0, 0.0, 0.0, 0.0
    start = 0
    for place in range(many):
        for j in range(start, ends[place]):
            sum_q += q[j]
            sum_p += p[j]
            along_q += ce[j] * q[j]
            along_p += ce[j] * p[j]
        start = ends[place]
        top[0, place], top[1, place], top[2, place], top[3, place] = sum_q, sum_p, along_q, along_p
    sum_q, sum_p, along_q, along_p = 0.0, 0.0, 0.0, 0.0
    for place in range(many - 1, -1, -1):
        for j in range(ends[place + 1] - 1, ends[place] - 1, -1):
            sum_q += q[j]
            sum_p += p[j]
            along_q += ce[j] * q[j]
            along_p += ce[j] * p[j]
        other[0, place], other[1, place] = sum_q, sum_p
        other[2, place], other[3, place] = along_q, along_p


@no_type_check
@reordered
def _add(top, other, found):
    """Add a sample's products at every k; three divisions, which take longest."""
    widest()
    of_q, of_p = 1.0 / (top[0, 0] + other[0, 0]), 1.0 / (top[1, 0] + other[1, 0])
    kd = (top[2, 0] + other[2, 0]) * of_q - (top[3, 0] + other[3, 0]) * of_p
    for at in range(found.shape[1]):
        q, q_other, p, p_other = top[0, at], other[0, at], top[1, at], other[1, at]
        a, a_other, b, b_other = top[2, at], other[2, at], top[3, at], other[3, at]
        apart = (a * q_other - a_other * q) / (q * q_other)
        found[0, at] += (p_other * of_p - q_other * of_q) * apart
        found[1, at] += (a * p - b * q) / (q * p)
        found[2, at] += (a_other * p_other - b_other * q_other) / (q_other * p_other)
        found[3, at] += kd
