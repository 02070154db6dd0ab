"""Loudness: gradient norms of GDKD's terms for a student that knows nothing, and weights for them.

With q = 1/c and the mean teacher (mean mass r_i of every rank, P of the top k) the closed forms of
the gradients give

    high = T |P - k/c| sqrt(1/k + 1/(c - k))
    low_top = T ||r_top / P - 1/k||
    low_other = T ||r_other / (1 - P) - 1/(c - k)||

These are norms of the mean teacher. The mean norm over samples is another number: it follows from
``TermSweep`` with a student of zeros.
"""

from math import floor, isnan

import numpy as np
from jaxtyping import Float

ALIKE = 1e-6  # a norm below it is rounding
UNSEEN = 1e-9  # a mass below it has lost its digits in the cumulative mass


def loudness(
    ranks: Float[np.ndarray, " c"], k: int, temperature: float | int
) -> dict[str, float | int]:
    """Return the norms of high, low_top and low_other in the student's logits, T^2 included.

    Args:
        ranks: teacher mass of every rank as softened by T, largest first.
        k: size of the top group, 0 < k < c.
        temperature: T.

    Returns:
        The norms by term; NaN for a group that holds no mass.
    """
    classes, top = len(ranks), ranks[:k].sum()
    high = abs(top - k / classes) * np.sqrt(1 / k + 1 / (classes - k))
    low_top, low_other = (
        np.linalg.norm(group / group.sum() - 1 / len(group)) if group.sum() > UNSEEN else np.nan
        for group in (ranks[:k], ranks[k:])
    )
    norms = {"high": high, "low_top": low_top, "low_other": low_other}
    return {term: float(temperature * norm) for term, norm in norms.items()}


def weigh(loudest: float | int, norm: float | int, most: int) -> tuple[int, str]:
    """Return the weight that makes ``norm`` as loud as ``loudest``, from 1 to ``most``, and why.

    A group without mass gets the largest weight, one whose classes are alike the smallest.
    """
    if isnan(norm):
        return most, "the mass there is too small to be told from 0, so the largest weight"
    if norm <= ALIKE:
        return 1, "the teacher tells no class there from another, so there is nothing to amplify"
    ratio = loudest / norm
    return int(np.clip(half_up(ratio), 1, most)), f"ratio {ratio:.3g}"


def half_up(value: float | int) -> int:
    """Round to the nearest whole number, halves up."""
    return floor(value + 0.5)
