"""Truncated teachers as DistillKit keeps them: bytes in Parquet, and the settings that packed them.

A token's bytes in ``compressed_logprobs`` are, largest first: ``exact_k`` log-probabilities; one
coefficient for each of ``polynomial_terms``; then for every bin of residuals its scale and
``num_elements`` whole numbers of ``element_bits`` bits, filled up to a byte. The values after the
exact ones are ``sum_i coefficient_i term_i(t) + residual``, t = 0, 1, ... or from 0 to 1. With
``delta_encoding`` each value is the difference to the one before it. ``bytepacked_indices`` are k
ids of ceil(log2 d) bits. Bits stand most significant first, numbers are little-endian
(https://github.com/arcee-ai/DistillKit).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int, UInt8

from kdanalysis.store.floats import DTYPES
from kdanalysis.store.formats.parquet import ParquetTable, is_list
from kdanalysis.store.formats.plain_yaml import read_settings
from kdanalysis.store.reading import listed
from kdanalysis.store.schema import decode
from kdanalysis.store.sparse_rows import Rows

COLUMNS = ("compressed_logprobs", "bytepacked_indices")
CONFIG = "compression_config.yaml"
NEEDED = ("d", "k", "exact_k")
_SPECIAL = {"sqrt": np.sqrt, "exp": np.exp}
_GROUP = 256  # rows of the file, which are sequences


@dataclass(frozen=True)
class Bin:
    """Residuals that share a scale."""

    scale_dtype: str
    element_bits: int
    num_elements: int

    @property
    def width(self) -> int:
        """Bytes of the packed numbers."""
        return -(-self.element_bits * self.num_elements // 8)


@dataclass(frozen=True)
class Packing:
    """How tokens were packed; names and meanings are those of the settings file."""

    d: int
    k: int
    exact_k: int
    exact_dtype: str = "float32"
    polynomial_terms: tuple[int | str, ...] = ()
    term_dtype: str = "float32"
    residual_bins: tuple[Bin, ...] = ()
    delta_encoding: bool = True
    normalize_t: bool = False

    @property
    def index_bits(self) -> int:
        """Bits of an id: ceil(log2 d)."""
        return (self.d - 1).bit_length()

    @property
    def widths(self) -> tuple[int, int]:
        """Bytes of a token's log-probabilities, and of its ids."""
        exact = self.exact_k * DTYPES[self.exact_dtype].itemsize
        terms = len(self.polynomial_terms) * DTYPES[self.term_dtype].itemsize
        bins = sum(DTYPES[b.scale_dtype].itemsize + b.width for b in self.residual_bins)
        return exact + terms + bins, -(-self.k * self.index_bits // 8)


def read_distillkit(table: ParquetTable, config: str | Path | None) -> Rows:
    """Read a file of packed log-probabilities; each position of its sequences becomes a row.

    Values are computed in float64 from what is stored. DistillKit rounds its own to
    ``exact_dtype``.

    Args:
        table: the file.
        config: the settings; ``compression_config.yaml`` beside the file if not given.

    Raises:
        ValueError: no settings, or they do not fit the bytes.
    """
    place = table.path.with_name(CONFIG) if config is None else Path(config).expanduser()
    if not place.is_file():
        raise ValueError(
            f"{table.path} holds packed log-probabilities, and there is no {place}: the {CONFIG} "
            f"that DistillKit wrote with them is needed there, or as config of kd.read_sparse"
        )
    packing = packing_of(read_settings(place), place)
    parts = []
    for _, batch in table.stream(COLUMNS, _GROUP, range(table.num_rows)):
        values, ids = (
            _bytes(table, name, batch[name], width, place)
            for name, width in zip(COLUMNS, packing.widths, strict=True)
        )
        if len(values) != len(ids):
            raise ValueError(
                f"{table.path} has {len(values):,} positions of {COLUMNS[0]} and {len(ids):,} of "
                f"{COLUMNS[1]}: need as many"
            )
        parts.append((unpacked(ids, packing.index_bits, packing.k), logprobs(values, packing)))
    if not parts:
        raise ValueError(f"{table.path} has no rows")
    ids, found = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Rows(ids, found, vocabulary=packing.d, temperature=1.0)


def captured(folder: Path) -> list[Path]:
    """Return the parts of a folder that DistillKit wrote, in their order; none of another one."""
    parts = folder.glob("data_*.parquet") if folder.is_dir() else ()
    return sorted(parts, key=lambda part: (len(part.name), part.name))


def read_captured(tables: Sequence[ParquetTable], config: str | Path | None) -> Rows:
    """Read the parts of a folder as one; see ``read_distillkit``."""
    parts = [read_distillkit(table, config) for table in tables]
    ids, found = (
        np.concatenate(x) for x in zip(*((p.ids, p.logprobs) for p in parts), strict=True)
    )
    return Rows(ids, found, vocabulary=parts[0].vocabulary, temperature=1.0)


def packing_of(settings: Mapping[str, Any], path: Path) -> Packing:
    """Return the packing that settings describe.

    Raises:
        ValueError: one is missing, or is none that DistillKit writes.
    """
    if missing := [name for name in NEEDED if name not in settings]:
        raise ValueError(
            f"{path} has no {missing[0]}: it has {listed(settings)}, need {', '.join(NEEDED)} as "
            "DistillKit writes them"
        )
    known = {n: v for n, v in settings.items() if n in Packing.__dataclass_fields__}
    bins, terms = (known.pop(n, None) or [] for n in ("residual_bins", "polynomial_terms"))
    try:
        read = tuple(Bin(**one) for one in bins)
        packing = Packing(**known, residual_bins=read, polynomial_terms=tuple(terms))
        types = {packing.exact_dtype, packing.term_dtype, *(one.scale_dtype for one in read)}
    except TypeError as error:
        raise ValueError(f"{path} has residual_bins that cannot be read: {bins!s:.80}") from error
    counts = [packing.d, packing.k, packing.exact_k + 1]
    counts += [number for b in packing.residual_bins for number in (b.element_bits, b.num_elements)]
    whole = all(type(count) is int and count > 0 for count in counts)
    if not (whole and types <= DTYPES.keys() and _fits(packing)):
        raise ValueError(
            f"{path} describes no packing: need 0 <= exact_k <= k <= d, bins of 1 to 63 bits that "
            f"hold k - exact_k numbers at most, types of {', '.join(DTYPES)}, and terms that are "
            "whole numbers, sqrt or exp"
        )
    return packing


def _fits(packing: Packing) -> bool:
    inside = sum(b.num_elements for b in packing.residual_bins) <= packing.k - packing.exact_k
    bits = all(b.element_bits < 64 for b in packing.residual_bins)
    terms = all(type(t) is int or t in _SPECIAL for t in packing.polynomial_terms)
    return inside and bits and terms and packing.exact_k <= packing.k <= packing.d and packing.d > 1


def logprobs(packed: UInt8[np.ndarray, "n b"], packing: Packing) -> Float[np.ndarray, "n k"]:
    """Unpack log-probabilities, largest first, in float64."""
    exact, rest = _numbers(packed, packing.exact_dtype, packing.exact_k)
    after = np.zeros((len(packed), packing.k - packing.exact_k))
    if packing.polynomial_terms:
        factors, rest = _numbers(rest, packing.term_dtype, len(packing.polynomial_terms))
        after += factors @ _terms(packing, after.shape[1])
    start = 0
    for one in packing.residual_bins:
        scale, rest = _numbers(rest, one.scale_dtype, 1)
        whole = unpacked(rest[:, : one.width], one.element_bits, one.num_elements)
        after[:, start : start + one.num_elements] += scale * _signed(whole, one.element_bits)
        start, rest = start + one.num_elements, rest[:, one.width :]
    values = np.concatenate([exact, after], 1)
    return values.cumsum(1) if packing.delta_encoding else values


def unpacked(packed: UInt8[np.ndarray, "n b"], bits: int, count: int) -> Int[np.ndarray, "n m"]:
    """Read ``count`` whole numbers of so many bits from every row, most significant bit first."""
    flags = np.unpackbits(np.ascontiguousarray(packed), axis=1, count=bits * count)
    found = np.zeros((len(packed), count), np.int64)
    for place in range(bits):
        found = (found << 1) | flags[:, place::bits]
    return found


def _signed(whole: Int[np.ndarray, "n m"], bits: int) -> Int[np.ndarray, "n m"]:
    """Residuals over their scale: -1 and 1 of one bit, else around 0."""
    return 2 * whole - 1 if bits == 1 else whole - (1 << (bits - 1))


def _terms(packing: Packing, count: int) -> Float[np.ndarray, "t m"]:
    t = np.linspace(0, 1, count) if packing.normalize_t else np.arange(count, dtype=float)
    terms = packing.polynomial_terms
    return np.stack([_SPECIAL[p](t) if isinstance(p, str) else t**p for p in terms])


def _numbers(
    packed: UInt8[np.ndarray, "n b"], dtype: str, count: int
) -> tuple[Float[np.ndarray, "n m"], UInt8[np.ndarray, "n r"]]:
    """Read floats from the front of every row, and return what follows them."""
    width = count * DTYPES[dtype].itemsize
    front = np.ascontiguousarray(packed[:, :width]).view(DTYPES[dtype])
    return front.reshape(len(packed), count).astype(np.float64), packed[:, width:]


def _bytes(
    table: ParquetTable, name: str, array: pa.Array, width: int, config: Path
) -> UInt8[np.ndarray, "n b"]:
    """Return the bytes of all positions, which must be as many as the settings say."""
    if not (is_list(array.type) and is_list(array.type.value_type)):
        raise ValueError(f"{table.path} ({name}) is {array.type!s:.60}, need lists of byte lists")
    tokens = array.flatten()
    lengths = decode(pc.fill_null(pc.list_value_length(tokens), 0), None)
    if (lengths != width).any():
        found = int(lengths[lengths != width][0])
        raise ValueError(
            f"{table.path} ({name}) has {found} bytes a token and {config} says {width}: these are "
            "not the settings that packed this file"
        )
    flat = tokens.flatten()
    if not pa.types.is_uint8(flat.type) or flat.null_count:
        raise ValueError(f"{table.path} ({name}) is {flat.type!s:.40}, need bytes, uint8, no nulls")
    return decode(flat, None).reshape(len(lengths), width)
