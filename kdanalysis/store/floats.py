"""Casts between the float types of the store; a finite value never becomes an infinity."""

import numpy as np
from jaxtyping import Float, Shaped, UInt16

from kdanalysis.store.schema import BITS

LARGEST = {
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
}


def widen_bfloat16(bits: UInt16[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return the float32 values of bfloat16 bit patterns; exact for all 65 536 of them."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_to_bfloat16(values: Float[np.ndarray, "*shape"]) -> UInt16[np.ndarray, "*shape"]:
    """Round float32 to the nearest bfloat16, ties to even; a NaN stays a NaN."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    quiet = ((bits >> 16) | 0x40).astype(np.uint16)
    return np.where(np.isnan(values), quiet, rounded)


def to_bits(
    values: Shaped[np.ndarray, "n c"], source: str, stored: str, column: str
) -> Shaped[np.ndarray, "n c"]:
    """Copy logits of dtype ``source`` into the little-endian bits of dtype ``stored``.

    Equal dtypes keep every bit (NaN payloads, -0, subnormals); inf and NaN pass any cast.

    Raises:
        ValueError: where a finite value exceeds the largest value of ``stored``.
    """
    if source == stored:
        return np.array(values, dtype=BITS[stored], order="C")
    wide = widen_bfloat16(values) if source == "bfloat16" else values
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        bits = _narrow(wide, stored)
        result = widen_bfloat16(bits) if stored == "bfloat16" else bits
    if np.isinf(result).any():
        _refuse_overflow(wide, result, stored, column)
    return bits


def _narrow(values: Float[np.ndarray, "n c"], stored: str) -> Shaped[np.ndarray, "n c"]:
    if stored == "bfloat16":
        return np.ascontiguousarray(round_to_bfloat16(values))
    return values.astype(BITS[stored], order="C")


def _refuse_overflow(
    values: Float[np.ndarray, "n c"], result: Float[np.ndarray, "n c"], stored: str, column: str
) -> None:
    lost = np.isinf(result) & np.isfinite(values)
    if lost.any():
        wider = "'float64'" if stored == "float32" else "'float32' (or 'bfloat16')"
        if stored == "bfloat16":
            wider = "'float32' or 'float64'"
        raise ValueError(
            f"{column} reach {np.abs(values[lost]).max():g}, beyond {LARGEST[stored]:g}, the "
            f"largest {stored}, in {lost.sum()} values: choose float_dtype={wider} for this run"
        )
