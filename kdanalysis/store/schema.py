"""The contract of a part: batches of columns as Arrow tables of their kind, and back.

A row of logits is one binary cell of ``num_classes * itemsize`` bytes, little-endian, a row of
region logits one of ``num_classes * num_regions * itemsize``; dtype, shape and byte order stand in
the file's metadata under the key ``kdanalysis``. Cells are written six times faster than Parquet
lists.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped, UInt8

from kdanalysis.store.floats import BFLOAT16, CELLS, DTYPES, narrow, widen
from kdanalysis.store.kinds import TEXT, Kind, find_kind

SCHEMA_VERSION = 1
_KEY = b"kdanalysis"
_WIDEST = 2**31 - 1  # bytes of a cell that Arrow can have
Columns = Mapping[str, np.ndarray | Sequence]


class Cells(NamedTuple):
    """How a column of cells is stored: the dtype of a value and the shape of a row."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Bytes of one cell."""
        return CELLS[self.dtype].itemsize * prod(self.shape)

    def describe(self) -> dict[str, object]:
        """Return what the file's metadata says about the column."""
        return {"dtype": self.dtype, "shape": list(self.shape), "byte_order": "little"}


def encode(
    kind: str,
    columns: Columns,
    sizes: Mapping[str, int],
    stored: str = "same",
    dtype: str | None = None,
) -> pa.Table:
    """Copy a batch of rows of one kind into a table, its columns in the order of the kind.

    Args:
        kind: one of ``KINDS``.
        columns: those it requires, and any of its others.
        sizes: length of each axis that a cell may have; see ``RunInfo.sizes``.
        stored: float dtype of cells on the disk, or "same" for their own.
        dtype: "bfloat16" where cells come as uint16 bit patterns; others may be floats.

    Raises:
        ValueError: for missing, unknown, uneven or wrongly typed columns, and for finite values
            beyond the range of ``stored``.
    """
    known = find_kind(kind)
    _check_names(columns, known)
    count = _common_length(columns)
    arrays, cells = {}, {}
    for name, column in known.columns.items():
        if name not in columns:
            continue
        if column.axes:
            shape = (count, *(sizes[axis] for axis in column.axes))
            if column.dtype is None:
                rows = _floats(columns[name], name, shape, dtype)
                own = column.some or stored == "same"
                cells[name] = Cells(rows.dtype.name if own else stored, shape[1:])
                rows = narrow(rows, cells[name].dtype, name)
            else:
                rows = _fixed(columns[name], name, shape, column.dtype)
                cells[name] = Cells(column.dtype, shape[1:])
            arrays[name] = _encode_cells(rows, cells[name])
        else:
            arrays[name] = _encode_scalars(columns[name], name, column.type)
    types = tuple((name, array.type) for name, array in arrays.items())
    schema = _schema(SCHEMA_VERSION, types, kind, tuple(cells.items()))
    return pa.Table.from_arrays(list(arrays.values()), schema=schema)


def filled(kind: str, columns: Columns, before: pa.Schema | None) -> Columns:
    """Return a batch with rows of NaN where it lacks what only some rows of a kind have.

    So batches with and without such rows share a part.

    Args:
        kind: of the rows.
        columns: of the batch.
        before: schema of the rows that it joins; None where there are none.
    """
    there = () if before is None else before.names
    some = [name for name, column in find_kind(kind).columns.items() if column.some]
    lacking = [name for name in some if name in there and name not in columns]
    if not lacking:
        return columns
    cells, count = read_cells(before), _common_length(columns)
    nothing = {n: np.full((count, *cells[n].shape), np.nan, np.float32) for n in lacking}
    return {**columns, **{n: x.astype(CELLS[cells[n].dtype]) for n, x in nothing.items()}}


def read_cells(schema: pa.Schema) -> dict[str, Cells] | None:
    """Return the columns of cells of a part; None where this package did not write the file.

    Raises:
        ValueError: for a newer schema version, or metadata that disagrees with the columns.
    """
    text = (schema.metadata or {}).get(_KEY)
    if text is None:
        return None
    try:
        stated = json.loads(text)
        version, entries = stated["schema_version"], dict(stated["logits"])
        if version > SCHEMA_VERSION:
            raise ValueError(
                f"schema version {version} is newer than {SCHEMA_VERSION}, "
                "the newest this package reads: update kdanalysis"
            )
        known = find_kind(stated["kind"])
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the metadata of the file cannot be read: {error!r}") from error
    _check_names(schema.names, known)
    return {
        name: _stated_cells(schema.field(name).type, known, name, entries.get(name))
        for name in schema.names
        if known.columns[name].axes or schema.field(name).type != known.columns[name].type
    }


def decode(array: pa.Array, cells: Cells | None) -> Shaped[np.ndarray, " n *c"]:
    """View a column as numbers, read-only; cells as rows of their dtype, bfloat16 as float32.

    Texts and truth values are copied into a row of Python objects.
    """
    if cells is not None:
        size, offset = len(array) * cells.width, array.offset * cells.width
        return as_cells(np.frombuffer(array.buffers()[1], np.uint8, size, offset), cells)
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return np.from_dlpack(array)  # ``to_numpy`` would import pandas
    return np.array(array.to_pylist(), dtype=object)


def as_cells(content: UInt8[np.ndarray, " b"], cells: Cells) -> Shaped[np.ndarray, " n *c"]:
    """View bytes as rows of the cells' dtype; bfloat16 becomes float32."""
    return widen(content.view(CELLS[cells.dtype]).reshape(-1, *cells.shape))


@lru_cache(maxsize=16)
def _schema(
    version: int,
    types: tuple[tuple[str, pa.DataType], ...],
    kind: str,
    cells: tuple[tuple[str, Cells], ...],
) -> pa.Schema:
    """Describe a table; it is kept, since batch after batch has the same."""
    fields = [pa.field(name, dtype, nullable=False) for name, dtype in types]
    described = {name: cell.describe() for name, cell in cells}
    text = json.dumps({"schema_version": version, "kind": kind, "logits": described})
    return pa.schema(fields, metadata={_KEY: text.encode()})


def _stated_cells(found: pa.DataType, kind: Kind, name: str, entry: object) -> Cells:
    """Hold what the metadata say of a column against its type, before anything is made of it."""
    axes = kind.columns[name].axes
    if axes and isinstance(entry, dict) and entry.get("byte_order") == "little":
        dtype, shape = entry.get("dtype"), entry.get("shape")
        whole = isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
        known = (kind.columns[name].dtype or dtype,) if dtype in CELLS else ()
        if whole and isinstance(dtype, str) and dtype in known and len(shape) == len(axes):
            cells = Cells(dtype, tuple(shape))
            if found == pa.binary(min(cells.width, _WIDEST)):
                return cells
    raise ValueError(f"the metadata of column {name} ({entry!s:.100}) does not fit its type")


def _check_names(columns: Collection[str], kind: Kind) -> None:
    missing = [name for name in kind.required if name not in columns]
    unknown = [name for name in columns if name not in kind.columns]
    if missing or unknown:
        raise ValueError(
            f"got the columns {sorted(columns)}, missing {missing}, unknown {unknown}: "
            f"need {list(kind.required)} and at most {list(kind.columns)}"
        )


def _common_length(columns: Columns) -> int:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"columns of a batch need one length, got {lengths}")
    return next(iter(lengths.values()))


def _floats(
    values: np.ndarray, name: str, shape: tuple[int, ...], dtype: str | None
) -> Shaped[np.ndarray, "n c *r"]:
    if values.shape != shape:
        raise ValueError(f"{name} have shape {values.shape}, need {shape}")
    if dtype == "bfloat16" and values.dtype == np.uint16:
        return values.view(BFLOAT16)
    if values.dtype.name not in DTYPES:
        raise ValueError(
            f"{name} are {values.dtype}{f' said to be {dtype}' if dtype else ''}: need float16, "
            "float32, float64, bfloat16, or uint16 bit patterns with dtype='bfloat16'"
        )
    return values


def _fixed(
    values: np.ndarray, name: str, shape: tuple[int, ...], dtype: str
) -> Shaped[np.ndarray, " n *c"]:
    """Return numbers of a column whose type never changes."""
    if values.shape != shape or values.dtype.name != dtype:
        raise ValueError(
            f"{name} are {values.dtype} of shape {values.shape}, need {dtype} of {shape}"
        )
    return np.ascontiguousarray(values, CELLS[dtype])


def _encode_cells(rows: Shaped[np.ndarray, "n c *r"], cells: Cells) -> pa.FixedSizeBinaryArray:
    """Wrap contiguous rows without a copy, as bytes because Arrow does not know bfloat16."""
    content = pa.py_buffer(rows.reshape(-1).view(np.uint8))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(cells.width), len(rows), [None, content])


def _encode_scalars(values: np.ndarray | Sequence, name: str, dtype: pa.DataType) -> pa.Array:
    if dtype == TEXT:
        return pa.array([str(value) for value in values], dtype)
    given, wanted = np.asarray(values), np.dtype(dtype.to_pandas_dtype())
    if given.ndim != 1 or given.dtype.kind not in ("iu" if wanted.kind == "i" else "iuf"):
        raise ValueError(f"{name} is {given.dtype} of shape {given.shape}, need a row of {wanted}")
    if wanted.kind == "i" and len(given):
        limits = np.iinfo(wanted)
        if int(given.min()) < limits.min or int(given.max()) > limits.max:
            raise ValueError(f"{name} goes up to {given.max()}, beyond the range of {wanted}")
    # ``pa.array`` would import pandas
    content = pa.py_buffer(np.array(given, dtype=wanted))
    return pa.Array.from_buffers(dtype, len(given), [None, content])
