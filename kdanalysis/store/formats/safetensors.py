"""Safetensors files, read through the library's memory map."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from kdanalysis.store.floats import widen
from kdanalysis.store.formats.table import ArrayInfo, Sliced
from kdanalysis.store.reading import cause

DTYPES = {
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "BF16": "bfloat16",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "BOOL": "bool",
}


class SafetensorsFile(Sliced):
    """Named tensors; the library holds the header against the file before anything is read.

    Raises:
        ValueError: where the header is damaged, or claims other bytes than the file has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, "numpy") as file:
                self.keys = tuple(file.keys())
                self._infos = {key: _info(file.get_slice(key)) for key in self.keys}
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{path} is truncated, forged or no safetensors file: {cause(error)}"
            ) from error

    def info(self, key: str) -> ArrayInfo:
        """Shape and dtype from the header."""
        return self._infos[key]

    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """Copy rows out of a map, which goes at once: the pages of one that stays add up.

        bfloat16 comes as float32.
        """
        with safe_open(self.path, "numpy") as file:
            return widen(file.get_slice(key)[start:stop])


def _info(tensor: Any) -> ArrayInfo:
    code = tensor.get_dtype()
    return ArrayInfo(tuple(tensor.get_shape()), DTYPES.get(code, code))
