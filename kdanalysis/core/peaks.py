"""The largest logits of a sample as compiled loops, for processors.

Of few classes in float32 the largest is looked for k times, in vector registers: its class is part
of what is compared. Otherwise a class is only looked at by itself where the largest logit of its
block is among the k largest of all blocks: k logits are at least as large as that one, each in a
block of its own. A block's classes lie far apart, so that those of many blocks fill a vector
register.
"""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.softened import reordered
from kdanalysis.core.sweep.elementary import bits_of, exact, inlined, larger, widest

BLOCK = 32  # classes
FEW = 2**13  # logits to be looked at in search of a sample's k largest
LINE = 64  # numbers: a row is filled up to a multiple, which leaves registers no rest
CLASS = 2**29 - 1  # bits of a key that hold its class
SHORT = 100  # classes: so many are put in order as they come, of more the least is found first
TAKEN = -(2**63)  # below every key


def largest(logits: Float[Tensor, "n c"], k: int) -> Int[Tensor, "n k"]:
    """Return the k classes of the largest logits, in that order, of equal ones the first."""
    found = torch.zeros(len(logits), k, dtype=torch.long)
    rows = logits.detach().contiguous().numpy()
    few = rows.dtype == np.float32 and k * rows.shape[1] <= FEW
    (_successively if few else _largest)(rows, found.numpy())
    return found


@no_type_check
@exact
def _successively(logits, found):
    """Fill in the class of the largest key, then without it that of the next, and so on."""
    widest()
    (n, c), k = logits.shape, found.shape[1]
    keys = np.full((c + LINE - 1) // LINE * LINE, TAKEN)
    for i in range(n):
        _fill_keys(logits[i], keys)
        for place in range(k):
            own = CLASS - (_most_of(keys) & CLASS)
            found[i, place], keys[own] = own, TAKEN


@no_type_check
@exact
def _fill_keys(logits, keys):
    """Fill in whole numbers in the order of the logits, of equal ones the first the largest.

    A float32 leaves the last bits of a float64 empty, which hold the class. NaN is the least.
    """
    widest()
    for j in range(len(logits)):
        bits = bits_of(np.float64(logits[j]) + 0.0)  # -0.0 is 0.0
        ascending = bits ^ ((bits >> 63) & ~TAKEN) if logits[j] == logits[j] else TAKEN
        keys[j] = (ascending & ~CLASS) | (CLASS - j)


@no_type_check
@inlined
def _most_of(keys):
    most = keys[0]
    for j in range(len(keys)):
        most = max(most, keys[j])
    return most


@no_type_check
@reordered
def peaks_of(logits, peaks, blocks):
    """Fill in the largest logit of every block: of one class in as many as there are blocks."""
    widest()
    for j in range(blocks):
        peaks[j] = logits[j]
    for row in range(1, BLOCK):
        for j in range(blocks):
            peaks[j] = larger(logits[row * blocks + j], peaks[j])


@no_type_check
@inlined
def _peak_of(peaks):
    peak = peaks[0]
    for j in range(len(peaks)):
        peak = larger(peaks[j], peak)
    return peak


@no_type_check
@reordered
def _how_many(peaks, least):
    """Count the peaks that are not below a number."""
    widest()
    count = np.int32(0)
    for j in range(len(peaks)):
        count += np.int32(peaks[j] >= least)
    return count


@no_type_check
@exact
def _reached(peaks, k):
    """Return a number that k peaks reach, and few more where they are different."""
    low, high, half = -_peak_of(-peaks), _peak_of(peaks), peaks.dtype.type(0.5)
    middle = half * low + half * high
    while low < middle < high:
        count = _how_many(peaks, middle)
        low, high = (low, middle) if count < k else (middle, high)
        if k <= count <= k + k // 8:
            break
        middle = half * low + half * high
    return low


@no_type_check
@exact
def fill_largest(logits, peaks, best, found):
    """Fill in the classes of a sample's largest logits, in that order, of equal ones the first.

    Args:
        logits: (c,).
        peaks: scratch, a block each; ``blocks_of`` are as many.
        best: scratch, as many as ``found``.
        found: 0 (k,); filled in, of a sample with NaN perhaps in part.
    """
    blocks, least, size = len(peaks), logits.dtype.type(-np.inf), 0
    rest = blocks * BLOCK
    if blocks:
        peaks_of(logits, peaks, blocks)
        least = _reached(peaks, len(found))  # by as many classes, each in a block of its own
    elif SHORT < len(found) < len(logits):
        least = _reached(logits, len(found))
    for block in range(blocks):
        if not peaks[block] < least:  # NaN is not below either
            size = _keep(logits[block:rest], block, blocks, least, best, found, size)
    _keep(logits[rest:], rest, 1, least, best, found, size)


@no_type_check
@exact
def blocks_of(classes, k):
    """How many blocks the classes are looked at in; none where a few would hold the k largest."""
    blocks = classes // BLOCK
    return blocks if blocks > k else 0


@no_type_check
@exact
def _largest(logits, found):
    k = found.shape[1]
    peaks, best = np.empty(blocks_of(logits.shape[1], k), logits.dtype), np.empty(k, logits.dtype)
    for i in range(len(logits)):
        fill_largest(logits[i], peaks, best, found[i])


@no_type_check
@exact
def _keep(logits, start, step, least, best, found, size):
    """Put every ``step``-th logit that is not below ``least`` among the ``size`` best.

    The first one is that of class ``start``.
    """
    k = len(best)
    for j in range(0, len(logits), step):
        one, own = logits[j], start + j
        if not one < least and (size < k or _before(one, own, best[k - 1], found[k - 1])):
            place = min(size, k - 1)
            while place > 0 and _before(one, own, best[place - 1], found[place - 1]):
                best[place], found[place] = best[place - 1], found[place - 1]
                place -= 1
            best[place], found[place] = one, own
            size += 1
    return size


@no_type_check
@exact
def _before(one, own, other, its):
    """Whether a logit stands before another: it is larger, or equal and of an earlier class."""
    return one > other or (one == other and own < its)
