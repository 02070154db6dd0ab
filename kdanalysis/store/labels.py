"""Labels of rows, what says that a row has none, and targets over the classes."""

import numpy as np
from jaxtyping import Bool, Float, Int64

NO_LABEL = -1
SUM = 1e-2  # how far from 1 a distribution may add up, as half precision rounds it
WIDE = (
    "class indices have the shape (n,), and distributions over the classes (n, c) are "
    "floating-point numbers from 0 that add up to 1"
)
IGNORED = (-1, -100, 255)  # ours, that of torch's losses, and that of uint8 masks


def labels(
    target: Int64[np.ndarray, " n"], num_classes: int
) -> tuple[Int64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return the labels, -1 where a row has none, and which of them are no class.

    -1, -100 and, where there are fewer than 256 classes, 255 say that there is none.
    """
    outside = (target < 0) | (target >= num_classes)
    none = outside & np.isin(target, IGNORED)
    return np.where(none, NO_LABEL, target), outside & ~none


def labels_of(
    soft: Float[np.ndarray, "n c"],
) -> tuple[Int64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return the labels of distributions, -1 over several classes, and which are none."""
    soft = soft.astype(np.float64)
    one = ((soft != 0).sum(1) == 1) & (soft.max(1) == 1)
    wrong = ~((np.abs(soft.sum(1) - 1) <= SUM) & (soft >= 0).all(1))
    return np.where(one, soft.argmax(1), NO_LABEL), wrong
