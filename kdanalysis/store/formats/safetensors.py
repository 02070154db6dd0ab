"""Safetensors files: a JSON header and raw values, read through a memory map."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kdanalysis.store.floats import widen_bfloat16
from kdanalysis.store.formats.table import ArrayInfo, Sliced

DTYPES = {
    "F16": ("float16", "<f2"),
    "F32": ("float32", "<f4"),
    "F64": ("float64", "<f8"),
    "BF16": ("bfloat16", "<u2"),
    "I8": ("int8", "<i1"),
    "I16": ("int16", "<i2"),
    "I32": ("int32", "<i4"),
    "I64": ("int64", "<i8"),
    "U8": ("uint8", "<u1"),
    "U16": ("uint16", "<u2"),
    "U32": ("uint32", "<u4"),
    "U64": ("uint64", "<u8"),
    "BOOL": ("bool", "?"),
}
_LONGEST_HEADER = 100 << 20


class SafetensorsFile(Sliced):
    """Named tensors.

    Raises:
        ValueError: where the header is damaged or longer than the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise ValueError(
                    f"{path} claims a header of {length} bytes in a file of {size}: "
                    "it is truncated, forged or no safetensors file"
                )
            header = _parse(file.read(length), path)
        self._start, self._size = 8 + length, size - 8 - length
        self._entries = {key: value for key, value in header.items() if key != "__metadata__"}
        self.keys = tuple(self._entries)

    def info(self, key: str) -> ArrayInfo:
        """Shape and dtype from the header, held against the file."""
        shape, dtype, _ = self._entry(key)
        return ArrayInfo(shape, DTYPES[dtype][0])

    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """Copy rows out of the map; bfloat16 as float32."""
        shape, dtype, offset = self._entry(key)
        name, code = DTYPES[dtype]
        array = np.memmap(self.path, code, "r", offset=self._start + offset, shape=shape)
        values = np.array(array[start:stop])
        return widen_bfloat16(values) if name == "bfloat16" else values

    def _entry(self, key: str) -> tuple[tuple[int, ...], str, int]:
        entry = self._entries[key]
        try:
            shape, dtype = tuple(entry["shape"]), entry["dtype"]
            begin, end = entry["data_offsets"]
            claimed = math.prod(shape) * np.dtype(DTYPES[dtype][1]).itemsize
            counts = [*shape, begin, end]
            whole = all(type(n) is int and n >= 0 for n in counts)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path} ({key}) has a header we cannot read: {entry}") from error
        if not whole or claimed != end - begin or end > self._size:
            raise ValueError(
                f"{self.path} ({key}) claims {claimed} bytes for shape {shape} where the file "
                f"holds {self._size} in all: it is truncated or forged"
            )
        return shape, dtype, begin


def _parse(raw: bytes, path: Path) -> Mapping[str, dict]:
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has a damaged safetensors header: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path} has a damaged safetensors header: it names no tensors")
    return header
