"""Is it logits? One look for every door: files, tables, the recorder's first captured step."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdanalysis.core.warn import warn
from kdanalysis.core.wording import counted, told

TOTALS = {1: "", 100: " (in percent)", 255: " (in 255ths)"}  # what rows of probabilities add up to
ROUNDING = 0.25  # of a total: what rounding to two digits may move the sum of a hundred classes
EXACT = 1e-3  # of a total, where there is a single row to go by
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
BASES = (2, 10)  # of logarithms, in the place of e
ROUNDED = 0.02  # of what rows of logarithms add up to: half precision
ROWS_TO_LOOK = 16  # one number below 0 among them is enough
ROWS_TO_WARN = 16  # so many rows between 0 and 1, one entry above a half, are hardly logits


def as_tensor(rows: np.ndarray) -> Tensor:
    """Return the rows in order, their memory shared where it can be; torch warns of read-only ones.

    Those of a memory map, or of a column of pandas, are copied.
    """
    return torch.from_numpy(np.require(rows, requirements=["C", "W"]))


def check_logits(name: str, values: Float[Tensor, "n c"], instead: str) -> None:
    """Refuse probabilities; warn of values that are probably none of logits.

    Probabilities are not negative, and each row adds up to the same total: 1, 100 or 255. Their
    logarithms to base e are logits, to another they are logits times a factor: b^x adds up to 1.
    Rows of one value, as zeros that nobody filled in, and rows that are not finite say nothing.

    Args:
        name: of what is looked at, for the message.
        values: a row a sample.
        instead: what to give in their place, as the last words of the message.

    Raises:
        ValueError: every row that says something is one of probabilities, or every one of the first
            of their logarithms to base 2 or 10.
    """
    _refuse_base(name, values[:ROWS_TO_LOOK])
    if any(_is_negative(values[:rows]) for rows in (1, ROWS_TO_LOOK, len(values))):
        return
    rows = values[_telling(values)[1]].double()
    if not len(rows):
        return
    sums = rows.sum(-1)
    slack = ROUNDING if len(rows) > 1 else EXACT
    for total, unit in TOTALS.items():
        if (sums / total - 1).abs().amax() <= slack and rows.amax() <= total * (1 + EXACT):
            ends = dict.fromkeys(f"{end:.4g}" for end in (sums.amin(), sums.amax()))
            spread = f" (from {' to '.join(ends)})" if len(ends) > 1 else ""
            raise ValueError(
                f"{name} are probabilities{unit}: {counted(len(rows), 'row')} "
                f"{'is' if len(rows) == 1 else 'are'} not negative and each adds up to about "
                f"{total}{spread}; {instead}"
            )
    if 0.5 < rows.amax() <= 1 and len(rows) >= ROWS_TO_WARN:
        warn(
            f"{name} lie between 0 and 1 in all of {len(rows)} rows, as outputs of sigmoids do: a "
            f"softmax over them is nearly flat; if they are no logits, {instead}"
        )


def check_tensor(name: str, value: object, dims: int | None = None) -> None:
    """Raise a ValueError that names what is no tensor, or one of other dimensions."""
    if not isinstance(value, Tensor) or dims not in (None, value.dim()):
        of = "" if dims is None else f" of {dims} dimensions"
        raise ValueError(f"{name} must be a torch tensor{of}, got {told(value)}")


def check_dense(name: str, values: Tensor, floats: bool = True) -> None:
    """Raise a ValueError that names a tensor of a kind that cannot be computed with.

    Sparse, nested and quantized tensors and those without data; where ``floats`` also numbers that
    are not of float16, bfloat16, float32 or float64: whole numbers, complex ones, eight bits.
    """
    strange = values.layout != torch.strided or values.is_nested or values.is_meta
    if strange or (floats and values.dtype not in FLOATS):
        kind = "nested" if values.is_nested else f"{values.layout}".removeprefix("torch.")
        need = " of float16, bfloat16, float32 or float64" if floats else ""
        raise ValueError(
            f"{name} are {values.dtype} in a {kind} tensor on {values.device.type}, need a dense "
            f"one{need}"
        )


def _refuse_base(name: str, values: Float[Tensor, "n c"]) -> None:
    """Refuse logarithms of probabilities to another base than e, of more than one row."""
    if not values.numel() or values[0].amax() > 0 or values.amax() > 0:
        return
    rows = values[_telling(values)[1]].double()
    rows = rows[rows.amax(-1) < 0]  # less their largest, logits have 0 there, whatever the base
    if len(rows) < 2:
        return
    fits = [bool(((rows * math.log(b)).logsumexp(-1).abs() <= ROUNDED).all()) for b in BASES]
    if any(fits) and not (rows.logsumexp(-1).abs() <= ROUNDED).all():
        base = BASES[fits.index(True)]
        raise ValueError(
            f"{name} are logarithms to base {base}: in all of {len(rows)} rows {base}^x adds up to "
            f"1; multiply them by ln {base} = {math.log(base):.4f}"
        )


def _is_negative(values: Float[Tensor, "n c"]) -> bool:
    """Whether a number is below 0 in a row that says something."""
    low, telling = _telling(values)
    return bool((low[telling] < 0).any())


def _telling(values: Float[Tensor, "n c"]) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """Return the least number of every row, and which rows say something."""
    low, high = values.amin(-1), values.amax(-1)  # NaN where a row holds one
    return low, (low != high) & low.isfinite() & high.isfinite()
