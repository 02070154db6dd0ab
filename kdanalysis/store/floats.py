"""Casts between the float types of the store; a finite value never becomes an infinity."""

import ml_dtypes
import numpy as np
from jaxtyping import Bool, Shaped

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "bfloat16": BFLOAT16,
}
CELLS = DTYPES | {"int32": np.dtype("<i4")}  # of what a cell may hold


def widen(values: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*shape"]:
    """Return bfloat16 as float32, exactly, because torch and numpy do not read it; others as is."""
    return values.astype(np.float32) if values.dtype == BFLOAT16 else values


def narrow(
    values: Shaped[np.ndarray, "*shape"], stored: str, column: str
) -> Shaped[np.ndarray, "*shape"]:
    """Copy floats into little-endian rows of dtype ``stored``, rounded to the nearest.

    Equal dtypes keep every bit (NaN payloads, -0, subnormals); inf and NaN pass any cast.

    Raises:
        ValueError: where a finite value exceeds the largest value of ``stored``.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        cast = values.astype(DTYPES[stored], order="C")
    if values.dtype.name != stored:
        infinite = _infinite(cast)
        if infinite.any():
            _refuse_overflow(values, infinite, stored, column)
    return cast


def _infinite(values: Shaped[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    """Compare bits of the short types: ``np.isinf`` of float16 takes as long as the cast."""
    if values.itemsize > 2:
        return np.isinf(values)
    infinity = np.array(np.inf, values.dtype).view(np.uint16)
    return (values.view(np.uint16) & 0x7FFF) == infinity


def _refuse_overflow(
    values: Shaped[np.ndarray, "*shape"],
    infinite: Bool[np.ndarray, "*shape"],
    stored: str,
    column: str,
) -> None:
    wide = widen(values)
    lost = infinite & np.isfinite(wide)
    if lost.any():
        largest = np.abs(wide[lost]).max()
        wider = "float32" if largest <= ml_dtypes.finfo("float32").max else "float64"
        raise ValueError(
            f"{column} reach {largest:g}, beyond {float(ml_dtypes.finfo(DTYPES[stored]).max):g}, "
            f"the largest {stored}, in {lost.sum()} values: store this run as {wider!r}"
        )
