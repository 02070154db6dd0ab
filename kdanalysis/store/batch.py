"""One batch of columns as an Arrow table of the contract's types."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from kdanalysis.store.floats import to_bits
from kdanalysis.store.schema import (
    BITS,
    LAYER_COLUMNS,
    LAYER_NOISE,
    LOGITS,
    NUMPY,
    REGION_COLUMNS,
    REGIONS,
    REQUIRED_COLUMNS,
    SAMPLE_COLUMNS,
    SAMPLE_SCALARS,
    Cells,
    encode_cells,
    encode_numbers,
    layers_schema,
    regions_schema,
    samples_schema,
)

Columns = Mapping[str, np.ndarray | Sequence]


def encode_samples(
    columns: Columns, num_classes: int, stored: str, dtype: str | None = None
) -> pa.Table:
    """Copy a batch into a table: logits as cells of dtype ``stored``, or their own for "same".

    Args:
        columns: step, epoch, sample_id, student_logits, and target, teacher_logits, residual.
        num_classes: values in a row of logits.
        stored: float dtype on the disk, or "same".
        dtype: "bfloat16" where logits are uint16 bit patterns; the other side may be float.

    Raises:
        ValueError: for missing, unknown, uneven or wrongly typed columns, and for finite values
            beyond the range of ``stored``.
    """
    _check_names(columns, REQUIRED_COLUMNS, SAMPLE_COLUMNS)
    count = _common_length(columns)
    logits = [name for name in LOGITS if name in columns]
    arrays, cells = _encode_logits(columns, logits, (count, num_classes), stored, dtype)
    scalars = tuple(name for name in SAMPLE_SCALARS if name in columns)
    arrays |= {name: _scalar(columns[name], name, SAMPLE_SCALARS[name]) for name in scalars}
    schema = samples_schema(scalars, cells)
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def encode_regions(
    columns: Columns, num_classes: int, num_regions: int, stored: str, dtype: str | None = None
) -> pa.Table:
    """Copy step, epoch, sample_id, target, teacher_regions and student_regions into a table.

    Region logits have the shape (n, c, r). Arguments and errors as for ``encode_samples``.
    """
    _check_names(columns, REGION_COLUMNS, REGION_COLUMNS)
    shape = (_common_length(columns), num_classes, num_regions)
    arrays, cells = _encode_logits(columns, REGIONS, shape, stored, dtype)
    scalars = [name for name in REGION_COLUMNS if name not in REGIONS]
    arrays |= {name: _scalar(columns[name], name, SAMPLE_SCALARS[name]) for name in scalars}
    schema = regions_schema(cells)
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def encode_layers(columns: Columns) -> pa.Table:
    """Copy rows of step, epoch, layer, term_a, term_b, dot into a table.

    The columns covariance and count may stand beside them.
    """
    _check_names(columns, tuple(LAYER_COLUMNS), (*LAYER_COLUMNS, *LAYER_NOISE))
    _common_length(columns)
    noise = {name: dtype for name, dtype in LAYER_NOISE.items() if name in columns}
    arrays = [
        pa.array([str(value) for value in columns[name]], dtype)
        if pa.types.is_string(dtype)
        else _scalar(columns[name], name, dtype)
        for name, dtype in (LAYER_COLUMNS | noise).items()
    ]
    return pa.Table.from_arrays(arrays, schema=layers_schema(tuple(noise)))


def _check_names(columns: Columns, required: Sequence[str], known: Sequence[str]) -> None:
    missing = [name for name in required if name not in columns]
    unknown = [name for name in columns if name not in known]
    if missing or unknown:
        raise ValueError(
            f"got the columns {sorted(columns)}, missing {missing}, unknown {unknown}: "
            f"need {list(required)} and at most {list(known)}"
        )


def _common_length(columns: Columns) -> int:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"columns of a batch need one length, got {lengths}")
    return next(iter(lengths.values()))


def _encode_logits(
    columns: Columns, names: Sequence[str], shape: tuple[int, ...], stored: str, dtype: str | None
) -> tuple[dict[str, pa.Array], dict[str, Cells]]:
    arrays, cells = {}, {}
    for name in names:
        source = _float_dtype(columns[name], name, shape, dtype)
        cells[name] = Cells(source if stored == "same" else stored, shape[1:])
        arrays[name] = encode_cells(to_bits(columns[name], source, cells[name].dtype, name))
    return arrays, cells


def _float_dtype(values: np.ndarray, name: str, shape: tuple[int, ...], dtype: str | None) -> str:
    if values.shape != shape:
        raise ValueError(f"{name} have shape {values.shape}, need {shape}")
    found = values.dtype.name
    if dtype == "bfloat16" and found == "uint16":
        return "bfloat16"
    if found not in BITS:
        raise ValueError(
            f"{name} are {found}{f' said to be {dtype}' if dtype else ''}: need float16, float32, "
            "float64, or uint16 bit patterns with dtype='bfloat16'"
        )
    return found


def _scalar(values: np.ndarray | Sequence, name: str, dtype: pa.DataType) -> pa.Array:
    given = np.asarray(values)
    wanted = np.dtype(NUMPY[dtype])
    if given.ndim != 1 or given.dtype.kind not in ("iu" if wanted.kind == "i" else "iuf"):
        raise ValueError(f"{name} is {given.dtype} of shape {given.shape}, need a row of {wanted}")
    if wanted.kind == "i" and len(given):
        limits = np.iinfo(wanted)
        if int(given.min()) < limits.min or int(given.max()) > limits.max:
            raise ValueError(f"{name} goes up to {given.max()}, beyond the range of {wanted}")
    return encode_numbers(np.array(given, dtype=wanted))
