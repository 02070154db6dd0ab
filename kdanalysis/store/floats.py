"""Casts between the float types of the store; a finite value never becomes an infinity."""

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt16

from kdanalysis.store.schema import BITS

INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80}  # the bits without the sign
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
    values: Shaped[np.ndarray, "n c *r"], source: str, stored: str, column: str
) -> Shaped[np.ndarray, "n c *r"]:
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
    if _infinite(bits, stored).any():
        _refuse_overflow(wide, _infinite(bits, stored), stored, column)
    return bits


def _narrow(values: Float[np.ndarray, "n c *r"], stored: str) -> Shaped[np.ndarray, "n c *r"]:
    if stored == "bfloat16":
        return np.ascontiguousarray(round_to_bfloat16(values))
    return values.astype(BITS[stored], order="C")


def _infinite(bits: Shaped[np.ndarray, "n c *r"], stored: str) -> Bool[np.ndarray, "n c *r"]:
    """Compare bits: ``np.isinf`` of float16 takes as long as the cast."""
    if stored not in INFINITY:
        return np.isinf(bits)
    return (bits.view(np.uint16) & 0x7FFF) == INFINITY[stored]


def _refuse_overflow(
    values: Float[np.ndarray, "n c *r"],
    infinite: Bool[np.ndarray, "n c *r"],
    stored: str,
    column: str,
) -> None:
    lost = infinite & np.isfinite(values)
    if lost.any():
        largest = np.abs(values[lost]).max()
        wider = "float32" if largest <= LARGEST["float32"] else "float64"
        raise ValueError(
            f"{column} reach {largest:g}, beyond {LARGEST[stored]:g}, the largest {stored}, "
            f"in {lost.sum()} values: store this run as {wider!r}"
        )
