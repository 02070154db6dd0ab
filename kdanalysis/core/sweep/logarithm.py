"""The logarithm in compiled loops, written out because a call of the library's is not vectorised.

How the functions are compiled is said here too. They take no annotations: what they are given
shows in ``loops``.
"""

from typing import no_type_check

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from kdanalysis.core.sweep.groups import ALMOST_GONE

# Nothing is reordered: the masses of a saturated teacher would lose their digits.
exact = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})

LOG_2 = 0.6931471805599453, 2.3190468138462996e-17  # in two parts
ROOT_2 = 1.4142135623730951
FRACTION, ONE = (1 << 52) - 1, 1023 << 52  # bits of a float64's fraction, and of 1.0


@no_type_check
@intrinsic
def bits_of(context, number):
    """The bits of a float64 as an integer."""

    def cast(context, builder, signature, values):
        return builder.bitcast(values[0], ir.IntType(64))

    return types.int64(types.float64), cast


@no_type_check
@intrinsic
def number_of(context, bits):
    """The float64 of these bits."""

    def cast(context, builder, signature, values):
        return builder.bitcast(values[0], ir.DoubleType())

    return types.float64(types.int64), cast


@no_type_check
@exact
def log(x):
    """Logarithm of a normal number above 0: x = 2^e m, log m = 2 artanh((m - 1) / (m + 1)).

    |(m - 1) / (m + 1)| < 0.172, so that 10 terms of the series reach the last digit.
    """
    bits = bits_of(x)
    fraction = number_of((bits & FRACTION) | ONE)
    large = fraction > ROOT_2
    power = float((bits >> 52) - 1023 + large)
    m = 0.5 * fraction if large else fraction
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 1 / 17 + z * (1 / 19 + z * (1 / 21))
    series = 1 / 13 + z * (1 / 15 + z * series)
    series = 1 / 9 + z * (1 / 11 + z * series)
    series = 1 / 5 + z * (1 / 7 + z * series)
    series = z * (1 / 3 + z * series)
    return power * LOG_2[0] + (2.0 * s + (2.0 * s * series + power * LOG_2[1]))


@no_type_check
@exact
def log_ratio(change, ratio):
    """Logarithm of 1 + change = ratio, with the digits of a change near 0 and of a ratio near 0."""
    rounded = 1.0 + change
    lost = change - (rounded - 1.0)  # by the addition; of no account beside a large logarithm
    return log(ratio if change < ALMOST_GONE else rounded) + (lost if abs(change) < 1.0 else 0.0)
