"""What a sweep may be asked for: which k, and which weights of the terms."""

from collections.abc import Sequence

from kdanalysis.core.arguments import fitted


def check_ks(ks: str | Sequence[int], num_classes: int) -> tuple[int, ...]:
    """Return the k in ascending order.

    Raises:
        ValueError: there is none, one appears twice, or one is no whole number from 1 to c - 1.
    """
    if isinstance(ks, str):
        if ks != "all":
            raise ValueError(f"ks is 'all' or a sequence of numbers, got {ks!r}")
        return tuple(range(1, num_classes))
    found = list(fitted("ks", ks, Sequence[int]))
    if not found:
        raise ValueError("need at least one k, got none")
    for k in found:
        if not 0 < k < num_classes:
            raise ValueError(
                f"k must be a whole number from 1 to {num_classes - 1} where there are "
                f"{num_classes} classes, got {k}: a group would be empty"
            )
    if len(set(found)) != len(found):
        raise ValueError(f"every k is needed once, got {found}")
    return tuple(sorted(found))


def check_weights(weights: Sequence[float | int]) -> tuple[float, float, float]:
    """Return the weights of high, low_top and low_other as floats.

    Raises:
        ValueError: there are not three finite numbers of at least 0, or all are 0.
    """
    values = tuple(fitted("weights", weights, Sequence[float]))
    if len(values) != 3 or min(values) < 0 or not any(values):
        raise ValueError(
            f"need three weights of at least 0 (high, low_top, low_other), not all 0, got {values}"
        )
    return values
