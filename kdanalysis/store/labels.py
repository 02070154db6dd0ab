"""Labels of rows, and what says that a row has none."""

import numpy as np
from jaxtyping import Bool, Int64

NO_LABEL = -1
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
