"""CIFAR-10 and CIFAR-100 as published: folders of pickled Python batches, read without pickle's
freedom to run code.
"""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8

from kdanalysis.data.resize import resize
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
    rows = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape[1:] == (3072,)
    if not rows:
        raise ValueError(f"{file} needs 'data' as rows of 3072 bytes, one row an image")
    return data.reshape(-1, 3, 32, 32)


def _labels(labels: Any, count: int, key: str, file: Path) -> Int[np.ndarray, " n"]:
    whole = isinstance(labels, list) and all(isinstance(label, int) for label in labels)
    if not whole or len(labels) != count:
        raise ValueError(f"{file} needs {key!r} as a list of {count} whole numbers, one an image")
    return np.array(labels, dtype=np.int64)


class _ArraysOnly(pickle.Unpickler):
    """Builds numpy arrays beside Python's plain values, and refuses every other name."""

    allowed: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("_codecs", "encode"): str.encode,  # as text to bytes; the original takes any codec
    }

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Return the callable a pickle asks for by name; called by pickle itself."""
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, not an array") from None


def read_batch(file: Path) -> dict[str, Any]:
    """Load one batch; keys and text are str, whichever Python wrote them.

    Raises:
        ValueError: the file is missing, is damaged, or asks for anything but arrays; nothing it
            asks for has then been called.
    """
    try:
        with file.open("rb") as stream, warnings.catch_warnings():
            # the published files give dtype an integer where numpy now wants a bool
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            batch = _ArraysOnly(stream, encoding="latin1").load()
    except Exception as error:  # a damaged pickle fails in any way its opcodes can
        raise ValueError(f"{file} cannot be read as a CIFAR batch: {error}") from error
    if not isinstance(batch, dict):
        raise ValueError(f"{file} holds a {type(batch).__name__}, but a CIFAR batch is a dict")
    return {key.decode() if isinstance(key, bytes) else key: batch[key] for key in batch}
