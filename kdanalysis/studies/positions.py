"""Positions of tokens in their texts, where sample ids hold them."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int64

from kdanalysis.core.vocabulary import POSITIONS

FURTHEST = 2**17  # no position from here on is believed
RANK = 2**12  # a rank gives ids of its own from multiples of so many texts on


def are_tokens(ids: Iterable[Int64[np.ndarray, " n"]]) -> bool:
    """Whether sample ids are those of ``kd.tokens``: of a text, times 2^20, plus a position.

    Taken to be so where there are several texts and no position from 2^17 on, as those of other
    large ids have. Ids that a rank gives by itself, from multiples of 2^32 on, are none.
    """
    several = False
    for some in ids:
        several = several or bool((some // POSITIONS % RANK).any())
        if not several or (some % POSITIONS >= FURTHEST).any():
            return False
    return several
