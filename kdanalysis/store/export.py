"""The samples of a run for other tools: Parquet lists, .npz or .safetensors."""

import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdanalysis.core.limits import announce_disk
from kdanalysis.store.files import whole_file
from kdanalysis.store.formats.safetensors import DTYPES
from kdanalysis.store.kinds import KINDS
from kdanalysis.store.run import StoredRun

Format = Literal["list", "npz", "safetensors"]
_BATCH = 1024
_KIND = KINDS["samples"]
SUFFIX = {"list": ".parquet", "npz": ".npz", "safetensors": ".safetensors"}


def export(path: str | Path, out: str | Path, fmt: Format = "list") -> Path:
    """Write the samples of a run, without duplicates, ordered by step, into one file.

    An ``.npz`` holds the names of the classes too, as ``classes``, where the run has them. Logits
    keep their stored dtype, but bfloat16 becomes float32, and so does float16 in a Parquet
    list, which few readers know. Memory is bounded by a batch. The file appears whole or not at
    all.

    Returns:
        ``out``, which must not exist yet and whose suffix must be that of the format.

    Raises:
        FileExistsError: where ``out`` exists.
        FileNotFoundError: where ``path`` is no run folder.
        ValueError: for an unknown format, another suffix, a run without samples, or a disk
            without room.
    """
    run, out = StoredRun(path), Path(out)
    if fmt not in SUFFIX or out.suffix != SUFFIX[fmt]:
        names = ", ".join(f"{name} ({suffix})" for name, suffix in SUFFIX.items())
        raise ValueError(f"cannot export {fmt!r} to {out.name}: need one of {names}")
    if out.exists():
        raise FileExistsError(f"{out} exists already: choose another name or remove it first")
    if not run.num_rows:
        raise ValueError(f"{path} holds no readable samples to export")
    if run.kind == "tokens":
        raise ValueError(
            f"{path} keeps {run.info.kept} classes a row and sums over the others: its rows are no "
            f"logits to export; kd.open(path) has its tables"
        )
    what, way = f"{path}: {run.num_rows:,} rows", "give a path on another disk"
    announce_disk(out, sum(_bytes(run, name, fmt) for name in _names(run)), what, way)
    with whole_file(out) as file:
        _WRITERS[fmt](run, file)
    return out


def _names(run: StoredRun) -> tuple[str, ...]:
    return tuple(name for name in run.columns if name != "rank")


def _shape(run: StoredRun, name: str) -> tuple[int, ...]:
    axes = _KIND.columns[name].axes
    return (run.num_rows, *(run.info.sizes[axis] for axis in axes))


def _dtype(run: StoredRun, name: str, fmt: Format) -> np.dtype:
    dtype = run.dtype(name)
    return np.promote_types(dtype, np.float32) if fmt == "list" and name in _KIND.cells else dtype


def _bytes(run: StoredRun, name: str, fmt: Format) -> int:
    return math.prod(_shape(run, name)) * _dtype(run, name, fmt).itemsize


def _column(run: StoredRun, name: str) -> Iterator[memoryview]:
    dtype = run.dtype(name)
    for batch in run.batches([name], _BATCH):
        yield memoryview(np.ascontiguousarray(batch[name], dtype)).cast("B")


def _write_list(run: StoredRun, file: BinaryIO) -> None:
    names, c = _names(run), run.info.num_classes
    wide = {n: _dtype(run, n, "list") for n in names if n in _KIND.cells}
    types = {
        n: pa.list_(pa.from_numpy_dtype(wide[n])) if n in wide else _KIND.columns[n].type
        for n in names
    }
    schema = pa.schema([pa.field(name, types[name]) for name in names])
    with pq.ParquetWriter(file, schema, use_dictionary=False, write_page_checksum=True) as writer:
        for batch in run.batches(names, _BATCH):
            arrays = [
                _lists(batch[name].astype(wide[name], copy=False), c)
                if name in wide
                else pa.array(batch[name])
                for name in names
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _lists(values: np.ndarray, c: int) -> pa.ListArray:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(c)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))


def _write_npz(run: StoredRun, file: BinaryIO) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in _names(run):
            header = {
                "descr": np.lib.format.dtype_to_descr(run.dtype(name)),
                "fortran_order": False,
                "shape": _shape(run, name),
            }
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for data in _column(run, name):
                    member.write(data)
        if run.info.classes:
            with archive.open("classes.npy", "w") as member:
                np.lib.format.write_array(member, np.array(run.info.classes))


def _write_safetensors(run: StoredRun, file: BinaryIO) -> None:
    # by hand, in batches: the library's own writer takes whole arrays
    codes = {name: code for code, name in DTYPES.items()}
    header, end = {}, 0
    for name in sorted(_names(run), key=lambda n: -run.dtype(n).itemsize):  # keeps alignment
        dtype, shape = run.dtype(name), _shape(run, name)
        begin, end = end, end + _bytes(run, name, "safetensors")
        header[name] = {"dtype": codes[dtype.name], "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in header:
        for data in _column(run, name):
            file.write(data)


_WRITERS = {"list": _write_list, "npz": _write_npz, "safetensors": _write_safetensors}
