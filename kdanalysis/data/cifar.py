"""CIFAR-10 and CIFAR-100 as published: folders of pickled batches, read without running code."""

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8

from kdanalysis.data.pixels import resize
from kdanalysis.data.splits import DataSplits, make_splits
from kdanalysis.data.strata import choose


class Layout(NamedTuple):
    """File names and keys of one of the two sets."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    meta: str
    names: str
    labels: str


LAYOUTS = (
    Layout(
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        valid=("test_batch",),
        meta="batches.meta",
        names="label_names",
        labels="labels",
    ),
    Layout(
        train=("train",),
        valid=("test",),
        meta="meta",
        names="fine_label_names",
        labels="fine_labels",
    ),
)


def find_layout(root: Path) -> Layout | None:
    """Say which of the two sets a folder holds, by the files it has; None: neither."""
    for layout in LAYOUTS:
        if all((root / name).is_file() for name in (layout.train[0], layout.meta)):
            return layout
    return None


def load_cifar(
    root: Path, image_size: int | None = None, seed: int = 0, limit: int | None = None
) -> DataSplits:
    """Read ``cifar-10-batches-py`` or ``cifar-100-python`` (fine labels); test is for validation.

    ``limit`` keeps that many training images in the proportions of the classes, drawn by ``seed``,
    and a quarter as many for validation.

    Raises:
        ValueError: a file is missing, is damaged, or asks for more than arrays, lists and text.
    """
    layout = find_layout(root)
    if layout is None:
        raise ValueError(f"{root} holds neither the CIFAR-10 nor the CIFAR-100 Python batches")
    classes = read_batch(root / layout.meta).get(layout.names)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"{root / layout.meta} has no list of class names {layout.names!r}")
    train, valid = (
        _read_all([root / name for name in names], layout.labels)
        for names in (layout.train, layout.valid)
    )
    chosen = choose(train[1], valid[1], seed, limit)
    parts = [
        (resize(pixels[torch.from_numpy(indices)], image_size), labels[indices])
        for (pixels, labels), indices in zip((train, valid), chosen, strict=True)
    ]
    return make_splits(root.resolve().name, classes, *parts, mirror=True)


def _read_all(
    files: list[Path], key: str
) -> tuple[UInt8[torch.Tensor, "n 3 32 32"], Int[np.ndarray, " n"]]:
    data, labels = [], []
    for file in files:
        batch = read_batch(file)
        data.append(_pixels(batch.get("data"), file))
        labels.append(_labels(batch.get(key), len(data[-1]), key, file))
    return torch.from_numpy(np.concatenate(data)), np.concatenate(labels)


def _pixels(data: Any, file: Path) -> UInt8[np.ndarray, "n 3 32 32"]:
    try:
        return data.rows(3 * 32 * 32).reshape(-1, 3, 32, 32)
    except (AttributeError, ValueError):
        raise ValueError(
            f"{file} needs 'data' as bytes in rows of 3072, one row an image"
        ) from None


def _labels(labels: Any, count: int, key: str, file: Path) -> Int[np.ndarray, " n"]:
    whole = isinstance(labels, list) and all(isinstance(label, int) for label in labels)
    if not whole or len(labels) != count:
        raise ValueError(f"{file} needs {key!r} as a list of {count} whole numbers, one an image")
    return np.array(labels, dtype=np.int64)


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
        said = " ".join(str(error).split())
        raise ValueError(f"{file} cannot be read as a CIFAR batch: {said:.200}") from error
    if not isinstance(batch, dict):
        raise ValueError(f"{file} holds a {type(batch).__name__}, but a CIFAR batch is a dict")
    return {k.decode("latin1") if isinstance(k, bytes) else k: one for k, one in batch.items()}
