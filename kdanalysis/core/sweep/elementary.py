"""Logarithm and exponential in compiled loops: a call of the library's is not vectorised.

How the functions are compiled is said here too. They take no annotations: what they are given
shows in ``loops``.
"""

from collections.abc import Callable
from typing import Any, no_type_check

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, event
from numba.extending import intrinsic

from kdanalysis.core.limits import LOGGER
from kdanalysis.core.sweep.groups import ALMOST_GONE

CONTEXT = {"nogil": True, "error_model": "numpy"}


def compiled(*fastmath: str, **options: bool) -> Callable:
    """Return a decorator that compiles; what is compiled is kept where any folder takes it."""
    options: dict[str, Any] = CONTEXT | options | {"fastmath": set(fastmath)}

    def compile_(function: Callable) -> Callable:
        try:
            return njit(**options, cache=True)(function)
        except RuntimeError:  # neither the package's folder nor the user's can be written
            return njit(**options)(function)

    return compile_


class Told(event.Listener):
    """Says once a process that loops are compiled, where nothing is kept from before."""

    told = False

    def on_start(self, event: event.Event) -> None:
        """Say it of the first of ours."""
        ours = event.data["dispatcher"].py_func.__module__.startswith("kdanalysis.")
        if ours and not self.told:
            self.told = True
            LOGGER.info("compiling loops for this processor: some seconds, once a kind of data")

    def on_end(self, event: event.Event) -> None:
        """Nothing more."""


event.register("numba:compile", Told())

# Nothing is reordered: the masses of a saturated teacher would lose their digits.
exact = compiled("contract")
# Too long to be put in place of its calls otherwise, where a loop could not be vectorised.
inlined = compiled("contract", forceinline=True)
# Sums over classes or samples may be reordered, which lets them use vector registers.
summed = compiled("contract", "reassoc", "nsz")


@no_type_check
@intrinsic
def widest(context):
    """Let a function have the widest vector registers; LLVM's choice for many CPUs is half of them.

    It pays where divisions and roots are few, which no wider register makes faster.
    """

    def allow(context, builder, signature, values):
        # llvmlite's own ``add`` knows no attributes that have a value
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), allow


@no_type_check
@intrinsic(prefer_literal=True)
def sum_from(context, array, start, size):
    """The sum of ``size`` numbers of a contiguous array, a constant, in vector registers."""

    def add(context, builder, signature, values):
        lanes = ir.VectorType(ir.DoubleType(), size.literal_value)
        data = context.make_array(array)(context, builder, values[0]).data
        place = builder.bitcast(builder.gep(data, [values[1]]), lanes.as_pointer())
        name, kind = f"llvm.vector.reduce.fadd.v{lanes.count}f64", ir.DoubleType()
        of = ir.FunctionType(kind, (kind, lanes))
        reduce = cgutils.get_or_insert_function(builder.module, of, name)
        numbers = builder.load(place, align=8)
        return builder.call(reduce, (kind(0.0), numbers), fastmath=("reassoc",))

    return types.float64(array, types.intp, size), add


LOG_2 = 0.6931471803691238, 1.9082149292705877e-10  # in two parts; the first ends in zeros
ONE, POWER, FRACTION = 1023 << 52, 2047 << 52, (1 << 52) - 1  # bits of 1.0; parts of a float64
HALF_ROOT = 0x3FE6A09E667F3BCD  # bits of the root of 1/2
WHOLE = 1 << 52  # as a float: added to a smaller number above 0, it leaves its whole part as bits


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
@intrinsic
def larger(context, one, other):
    """The larger of two numbers, neither NaN; unlike ``max`` it can be reordered in a loop."""

    def choose(context, builder, signature, values):
        quick = "nnan", "nsz"
        above = builder.fcmp_ordered(">", *values, flags=quick)
        return builder.select(above, *values, flags=quick)

    return one(one, one), choose


@no_type_check
@exact
def parts_of(x):
    """Power e and fraction m of a normal number x = 2^e m above 0, m from root 1/2 to root 2."""
    bits = bits_of(x) + (ONE - HALF_ROOT)
    power = number_of(((bits & POWER) >> 52) | (1075 << 52)) - (WHOLE + 1023.0)
    return power, number_of((bits & FRACTION) + HALF_ROOT)


@no_type_check
@exact
def log_of(power, s):
    """Logarithm of 2^power m from s = (m - 1) / (m + 1): log m = 2 artanh s.

    |s| < 0.172, so that 10 terms of the series reach the last digit.
    """
    z = s * s
    w = z * z
    last = (1 / 15 + z * (1 / 17)) + w * (1 / 19 + z * (1 / 21))
    series = (1 / 7 + z * (1 / 9)) + w * (1 / 11 + z * (1 / 13)) + w * w * last
    series = z * ((1 / 3 + z * (1 / 5)) + w * series)
    return power * LOG_2[0] + (2.0 * s + (2.0 * s * series + power * LOG_2[1]))


@no_type_check
@exact
def log_ratio(change, ratio):
    """Logarithm of 1 + change = ratio, with the digits of a change near 0 and of a ratio near 0."""
    lost, power, m = opened(change, ratio)
    return log_of(power, (m - 1.0) / (m + 1.0)) + lost


@no_type_check
@inlined
def log_ratios(change_a, ratio_a, change_b, ratio_b, change_c, ratio_c):
    """Three of ``log_ratio`` by one division."""
    lost_a, power_a, a = opened(change_a, ratio_a)
    lost_b, power_b, b = opened(change_b, ratio_b)
    lost_c, power_c, c = opened(change_c, ratio_c)
    with_a, with_b, with_c = a + 1.0, b + 1.0, c + 1.0
    once = 1.0 / (with_a * with_b * with_c)
    of_a = log_of(power_a, (a - 1.0) * (with_b * with_c * once)) + lost_a
    of_b = log_of(power_b, (b - 1.0) * (with_a * with_c * once)) + lost_b
    return of_a, of_b, log_of(power_c, (c - 1.0) * (with_a * with_b * once)) + lost_c


@no_type_check
@exact
def opened(change, ratio):
    """What the logarithm of 1 + change = ratio is made of: the sum's rounding, power, fraction."""
    rounded = 1.0 + change
    lost = change - (rounded - 1.0)  # of no account beside a large logarithm
    power, fraction = parts_of(ratio if change < ALMOST_GONE else rounded)
    return lost if abs(change) < 1.0 else 0.0, power, fraction


@no_type_check
@exact
def power_and_rest(x):
    """2^e and exp(x) / 2^e - 1, |x| at most 700."""
    shifted = x * 1.4426950408889634 + (1.5 * WHOLE + 1023.0)
    n = shifted - (1.5 * WHOLE + 1023.0)
    r = (x - n * LOG_2[0]) - n * LOG_2[1]
    return number_of(bits_of(shifted) << 52), r + curved(r)


@no_type_check
@exact
def curved(r):
    """exp(r) - 1 - r, |r| at most half of log 2: 12 terms reach the last digit."""
    z = r * r
    w = z * z
    last = (1 / 39916800 + r * (1 / 479001600)) + z * (1 / 6227020800)
    series = (1 / 5040 + r * (1 / 40320)) + z * (1 / 362880 + r * (1 / 3628800)) + w * last
    series = (1 / 6 + r * (1 / 24)) + z * (1 / 120 + r * (1 / 720)) + w * series
    return z * (0.5 + r * series)


@no_type_check
@exact
def exp(x):
    """Exponential, |x| at most 700."""
    power, rest = power_and_rest(x)
    return power + power * rest


@no_type_check
@exact
def expm1(x):
    """Exponential less 1, with the digits of a small one; |x| at most 700."""
    power, rest = power_and_rest(x)
    return (power - 1.0) + power * rest
