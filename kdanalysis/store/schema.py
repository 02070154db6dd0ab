"""The contract of a part: column types, and logits rows as fixed-size binary cells.

A row of logits is one binary cell of ``num_classes * itemsize`` bytes, little-endian, a row of
region logits one of ``num_classes * num_regions * itemsize``; dtype, shape and byte order stand in
the file's metadata under the key ``kdanalysis``. bfloat16, which numpy does not know, is stored as
its bits (uint16). Cells are written six times faster than Parquet lists.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

SCHEMA_VERSION = 1
KINDS = ("samples", "layers", "regions")
LOGITS = ("teacher_logits", "student_logits")
REGIONS = ("teacher_regions", "student_regions")
SAMPLE_SCALARS = {
    "step": pa.int64(),
    "epoch": pa.int32(),
    "sample_id": pa.int64(),
    "target": pa.int64(),
    "residual": pa.float32(),
}
SAMPLE_COLUMNS = ("step", "epoch", "sample_id", "target", *LOGITS, "residual")
REQUIRED_COLUMNS = ("step", "epoch", "sample_id", "student_logits")
REGION_COLUMNS = ("step", "epoch", "sample_id", "target", *REGIONS)
LAYER_COLUMNS = {
    "step": pa.int64(),
    "epoch": pa.int32(),
    "layer": pa.string(),
    "term_a": pa.string(),
    "term_b": pa.string(),
    "dot": pa.float64(),
}
LAYER_NOISE = {"covariance": pa.float64(), "count": pa.int64()}  # optional, beside the others
NUMPY = {
    pa.int64(): "int64",
    pa.int32(): "int32",
    pa.float32(): "float32",
    pa.float64(): "float64",
}
BITS = {"float16": "<f2", "float32": "<f4", "float64": "<f8", "bfloat16": "<u2"}
_KEY = b"kdanalysis"


@dataclass(frozen=True)
class Cells:
    """How one logits column is stored: the dtype of a value and the shape of a row.

    The shape is (c,), of region logits (c, r).
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Bytes of one cell."""
        return np.dtype(BITS[self.dtype]).itemsize * prod(self.shape)

    def describe(self) -> dict[str, object]:
        """Return what the file's metadata says about the column."""
        return {"dtype": self.dtype, "shape": list(self.shape), "byte_order": "little"}


def samples_schema(scalars: tuple[str, ...], cells: Mapping[str, Cells]) -> pa.Schema:
    """Schema of a samples part, columns in the fixed order, none nullable."""
    types = {name: SAMPLE_SCALARS[name] for name in scalars}
    types |= {name: pa.binary(cell.width) for name, cell in cells.items()}
    logits = {name: cell.describe() for name, cell in cells.items()}
    return _schema(
        {name: types[name] for name in SAMPLE_COLUMNS if name in types}, "samples", logits
    )


def regions_schema(cells: Mapping[str, Cells]) -> pa.Schema:
    """Schema of a regions part: region logits of some samples, with what identifies them."""
    types = {name: SAMPLE_SCALARS[name] for name in REGION_COLUMNS if name in SAMPLE_SCALARS}
    types |= {name: pa.binary(cell.width) for name, cell in cells.items()}
    described = {name: cell.describe() for name, cell in cells.items()}
    return _schema({name: types[name] for name in REGION_COLUMNS}, "regions", described)


def layers_schema(noise: tuple[str, ...] = ()) -> pa.Schema:
    """Schema of a layers part: dot products of the gradients of two terms in one layer.

    ``noise`` names the columns of ``LAYER_NOISE`` beside them: the covariance of the two terms'
    per-sample gradients, and the number of samples whose mean gradient ``dot`` is made of.
    """
    return _schema(LAYER_COLUMNS | {n: LAYER_NOISE[n] for n in noise}, "layers", {})


def _schema(types: Mapping[str, pa.DataType], kind: str, logits: dict[str, object]) -> pa.Schema:
    fields = [pa.field(name, dtype, nullable=False) for name, dtype in types.items()]
    text = json.dumps({"schema_version": SCHEMA_VERSION, "kind": kind, "logits": logits})
    return pa.schema(fields, metadata={_KEY: text.encode()})


def read_cells(schema: pa.Schema) -> dict[str, Cells] | None:
    """Return the logits columns of a part; None where the file was not written by this package.

    Raises:
        ValueError: for a newer schema version, or metadata that disagrees with the columns.
    """
    text = (schema.metadata or {}).get(_KEY)
    if text is None:
        return None
    stated = json.loads(text)
    if stated["schema_version"] > SCHEMA_VERSION:
        raise ValueError(
            f"schema version {stated['schema_version']} is newer than {SCHEMA_VERSION}, "
            "the newest this package reads: update kdanalysis"
        )
    return {name: _cells(schema, name, entry) for name, entry in stated["logits"].items()}


def _cells(schema: pa.Schema, name: str, entry: Mapping[str, object]) -> Cells:
    known = entry["dtype"] in BITS and entry["byte_order"] == "little"
    if known and name in schema.names and len(entry["shape"]) == 1 + (name in REGIONS):
        cells = Cells(entry["dtype"], tuple(entry["shape"]))
        if schema.field(name).type == pa.binary(cells.width):
            return cells
    raise ValueError(f"the metadata of column {name} ({entry}) does not fit its type")


def encode_cells(bits: Shaped[np.ndarray, "n c *r"]) -> pa.FixedSizeBinaryArray:
    """Wrap contiguous little-endian rows as cells, without a copy."""
    width = prod(bits.shape[1:]) * bits.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(bits), [None, pa.py_buffer(bits)]
    )


def encode_numbers(values: Shaped[np.ndarray, " n"]) -> pa.Array:
    """Wrap a contiguous row of numbers without a copy (``pa.array`` would import pandas)."""
    dtype = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(dtype, len(values), [None, pa.py_buffer(values)])


def decode_numbers(array: pa.Array) -> Shaped[np.ndarray, " n"]:
    """View a column of numbers without nulls (``to_numpy`` would import pandas).

    Texts and truth values are copied into a row of Python objects.
    """
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return np.from_dlpack(array)
    return np.array(array.to_pylist(), dtype=object)


def decode_cells(array: pa.FixedSizeBinaryArray, cells: Cells) -> Shaped[np.ndarray, "n c *r"]:
    """View cells as rows of their stored dtype, read-only; bfloat16 as its bits (uint16)."""
    bits = np.dtype(BITS[cells.dtype])
    count = len(array) * prod(cells.shape)
    flat = np.frombuffer(array.buffers()[1], bits, count, offset=array.offset * cells.width)
    return flat.reshape(len(array), *cells.shape)
