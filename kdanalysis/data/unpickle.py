"""Pickled batches of bytes, read without pickle's freedom to run code."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8


class PickledArray:
    """What a pickle says of a numpy array, before any array is made of it.

    numpy's own constructors are kept out: given a crafted type and buffer, ``numpy.ndarray`` makes
    pointers of bytes.
    """

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def rows(self, width: int) -> UInt8[np.ndarray, "n width"]:
        """Build the array; ValueError unless it is of bytes, in C order, in rows of ``width``."""
        match self.state:
            case (_, (int(count), int(found)), PickledType(code="u1"), False | 0, data):
                content = data.encode("latin1") if isinstance(data, str) else data
                if found == width and isinstance(content, bytes) and len(content) == count * width:
                    return np.frombuffer(content, np.uint8).reshape(count, width)
        raise ValueError(f"bytes in rows of {width} are needed")


class PickledType:
    """What a pickle says of a numpy dtype."""

    def __init__(self, code: str = "", *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment: bytes have neither."""


_ALLOWED = {
    ("numpy", "ndarray"): None,  # only ever handed to _reconstruct, which ignores it
    ("numpy", "dtype"): PickledType,
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("_codecs", "encode"): str.encode,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands in for a name; pickle calls this for every name in the file."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, not for an array") from None


def read_batch(file: Path) -> dict[str, Any]:
    """Load a pickled dict of plain values and ``PickledArray``; text is str, whoever wrote it.

    Raises:
        ValueError: the file is missing, is damaged, holds no dict, or asks for anything but
            arrays; whatever it asks for has not been called then.
    """
    try:
        with file.open("rb") as stream:
            batch = _ArraysOnly(stream, encoding="latin1").load()
    except Exception as error:  # a damaged pickle fails in any way its opcodes can
        raise ValueError(f"{file} cannot be read as a CIFAR batch: {error}") from error
    if not isinstance(batch, dict):
        raise ValueError(f"{file} holds a {type(batch).__name__}, but a CIFAR batch is a dict")
    return {_text(key): value for key, value in batch.items()}


def _text(key: Any) -> Any:
    return key.decode("latin1") if isinstance(key, bytes) else key
