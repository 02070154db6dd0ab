"""The exponential in compiled loops, written out because a call of the library's is not vectorised.

How the loops of a split are compiled is said here too. They take no annotations: what they are
given shows in ``loops``.
"""

from typing import no_type_check

import numpy as np
from numba import njit

exact = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
# The largest and the sum of numbers may be reordered: vector registers then hold them.
reordered = njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "nnan"}
)
LOG_2 = 0.6931471803691238, 1.9082149292705877e-10  # in two parts; the first ends in zeros
WHOLE = 1.5 * 2**52  # added to a number, it leaves its whole part in the last bits


@no_type_check
@exact
def open_up(x, power):
    """Put 2^e into power and exp(x) / 2^e - 1 into x, |x| at most 700: 13 terms reach its end."""
    bits = power.view(np.int64)
    for j in range(len(x)):
        power[j] = x[j] * 1.4426950408889634 + WHOLE
    for j in range(len(x)):
        n = power[j] - WHOLE
        r = (x[j] - n * LOG_2[0]) - n * LOG_2[1]
        series = 1 / 39916800 + r * (1 / 479001600 + r * (1 / 6227020800))
        series = 1 / 362880 + r * (1 / 3628800 + r * series)
        series = 1 / 5040 + r * (1 / 40320 + r * series)
        series = 1 / 120 + r * (1 / 720 + r * series)
        series = 1 / 6 + r * (1 / 24 + r * series)
        x[j] = r + r * r * (0.5 + r * series)
    for j in range(len(x)):
        bits[j] = (bits[j] + 1023) << 52
