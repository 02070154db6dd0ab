"""Targets over the classes: distributions, whose rows over one class alone are its label."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64

from kdanalysis.store.floats import DTYPES
from kdanalysis.store.formats.table import ArrayInfo
from kdanalysis.store.labels import NO_LABEL

SUM = 1e-2  # how far from 1 a distribution may add up, as half precision rounds it
WIDE = (
    "class indices have the shape (n,), and distributions over the classes (n, c) are "
    "floating-point numbers from 0 that add up to 1"
)


def labels_of(
    soft: Float[np.ndarray, "n c"],
) -> tuple[Int64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return the labels of distributions, -1 over several classes, and which are none."""
    soft = soft.astype(np.float64)
    one = ((soft != 0).sum(1) == 1) & (soft.max(1) == 1)
    wrong = ~((np.abs(soft.sum(1) - 1) <= SUM) & (soft >= 0).all(1))
    return np.where(one, soft.argmax(1), NO_LABEL), wrong


def labels_and_rest(
    values: Float[np.ndarray, "n w"], num_classes: int, some: bool, path: Path, row: int
) -> tuple[Int64[np.ndarray, " n"], Float[np.ndarray, "n c"]]:
    """Return the labels of a batch, -1 over several classes, and its first classes.

    Args:
        values: targets over the classes, the first ``num_classes`` of which are kept.
        num_classes: c.
        some: whether rows may be NaN, as those of a run with a label are.
        path: what errors call the whole.
        row: number of the first one, for errors.

    Raises:
        ValueError: a row that is no distribution over the classes kept.
    """
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    soft = values[:, :num_classes]
    found, wrong = labels_of(soft)
    if some:
        wrong = values[:, num_classes:].astype(np.float64).sum(1) > SUM  # is cut off
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        numbers = soft[first].astype(np.float64)
        raise ValueError(
            f"target of {path} in row {row + first} adds up to {numbers.sum():.4g} over "
            f"the {num_classes} classes, and its least is {numbers.min():.4g}: {WIDE}"
        )
    return found, soft


def check_wide(given: ArrayInfo, what: str, need: tuple[int, int], cut: bool, path: Path) -> None:
    """Refuse targets over the classes that are no floats, or of other rows and classes.

    Args:
        given: shape and dtype.
        what: errors call them.
        need: rows and classes.
        cut: whether classes beyond these are cut off.
        path: of the logits that they must fit.
    """
    shape, dtype = given
    if tuple(shape[1:]) == (1,):
        raise ValueError(
            f"{what} has shape {tuple(shape)}: class indices have the shape (n,), as target[:, 0] "
            f"gives them"
        )
    if dtype not in DTYPES:
        raise ValueError(f"{what} is {dtype} of shape {shape}: {WIDE}")
    enough = len(shape) == 2 and (shape[1] >= need[1] if cut else shape[1] == need[1])
    if not enough or shape[0] != need[0]:
        raise ValueError(
            f"{what} has shape {shape}, need ({need[0]},) labels or distributions {need} to fit "
            f"the logits of {path}"
        )
