"""The largest logits of a sample as compiled loops, for processors.

A class is only looked at by itself where the largest logit of its block is among the k largest of
all blocks: k logits are at least as large as that one, each in a block of its own.
"""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.loops import reordered
from kdanalysis.core.sweep.elementary import exact

BLOCK = 32  # classes


def largest(logits: Float[Tensor, "n c"], k: int) -> Int[Tensor, "n k"]:
    """Return the k classes of the largest logits, in that order, of equal ones the first."""
    found = torch.empty(len(logits), k, dtype=torch.long)
    _largest(logits.detach().contiguous().numpy(), found.numpy())
    return found


@no_type_check
@exact
def _largest(logits, found):
    samples, classes = logits.shape
    k, blocks = found.shape[1], classes // BLOCK
    best, peaks = np.empty(k, logits.dtype), np.empty(blocks, logits.dtype)
    for i in range(samples):
        if blocks <= k:
            _keep(logits[i], 0, -np.inf, best, found[i], 0)
            continue
        for block in range(blocks):
            peaks[block] = peak_of(logits[i, block * BLOCK : (block + 1) * BLOCK])
        # k classes reach the least of the k largest peaks, each in a block of its own
        least, size = np.partition(peaks, blocks - k)[blocks - k], 0
        for block in range(blocks):
            if not peaks[block] < least:  # NaN is not below either
                start = block * BLOCK
                size = _keep(logits[i, start : start + BLOCK], start, least, best, found[i], size)
        _keep(logits[i, blocks * BLOCK :], blocks * BLOCK, least, best, found[i], size)


@no_type_check
@reordered
def peak_of(logits):
    """The largest logit."""
    peak = logits[0]
    for j in range(len(logits)):
        peak = max(peak, logits[j])
    return peak


@no_type_check
@exact
def _keep(logits, start, least, best, found, size):
    """Put logits from ``least`` on, the first of class ``start``, among the ``size`` best."""
    k = len(best)
    for j in range(len(logits)):
        one = logits[j]
        if not one < least and (size < k or one > best[k - 1]):
            place = min(size, k - 1)
            while place > 0 and one > best[place - 1]:
                best[place], found[place] = best[place - 1], found[place - 1]
                place -= 1
            best[place], found[place] = one, start + j
            size += 1
    return size
