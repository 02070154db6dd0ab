"""Parquet tables of images, as the ``datasets`` library writes them."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Int

from kdanalysis.data.encoded import Encoded, hold
from kdanalysis.data.splits import DataSplits, make_splits
from kdanalysis.data.strata import choose

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")
VALID_NAMES = ("valid", "validation", "val", "test")


class Source(NamedTuple):
    """Files of one set, opened together: their image column's name, labels and class names."""

    files: list[Path]
    column: str
    labels: Int[np.ndarray, " n"]
    classes: list[str] | None


def load_parquet(
    path: Path, image_size: int | None = None, seed: int = 0, limit: int | None = None
) -> DataSplits:
    """Read one file, or a folder of ``train-*`` and ``valid-*`` (or validation, val, test) files.

    The image column is ``image`` or ``img``, a struct with ``bytes``; the label column is
    ``label``, ``labels`` or ``fine_label``, whole numbers. Class names come from the schema's
    ``huggingface`` metadata where it names the label's classes, else the classes are numbered.
    Without validation files a stratified fifth, drawn by ``seed``, is for validation.
    Sizes, memory and ``limit`` are as in ``load_folder``; encoded bytes stay in memory.

    Raises:
        ValueError: files, columns or images missing or unreadable, or labels out of range.
    """
    train_files, valid_files = _files(path)
    train = _open(train_files)
    valid = _open(valid_files) if valid_files else None
    chosen = choose(train.labels, valid and valid.labels, seed, limit)
    parts = [
        _read(source, indices, image_size)
        for source, indices in zip((train, valid or train), chosen, strict=True)
    ]
    most, count = int(train.labels.max()), len(train.labels)
    if not train.classes and most >= count:
        raise ValueError(
            f"{train.files[0]} has the label {most}, and there are {count} images: labels number "
            "the classes from 0, and every class needs an image"
        )
    classes = train.classes or [str(i) for i in range(1 + most)]
    return make_splits(path.resolve().stem, classes, *parts, mirror=True)


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    if path.is_file():
        return [path], []
    files = sorted(path.glob("*.parquet"))
    named = {
        name: [file for file in files if re.fullmatch(rf"{name}(-.*)?", file.stem)]
        for name in ("train", *VALID_NAMES)
    }
    if not named["train"]:
        raise ValueError(
            f"{path} has Parquet files, but none named train-*.parquet beside "
            f"{', '.join(f'{name}-*.parquet' for name in VALID_NAMES)}"
        )
    return named["train"], next((named[name] for name in VALID_NAMES if named[name]), [])


def _open(files: list[Path]) -> Source:
    """Read the small part of each file: its schema and its labels."""
    image, label = "", ""
    classes, labels = None, []
    for file in files:
        try:
            schema = pq.read_schema(file)
            image = _column(schema, IMAGE_COLUMNS, file)
            label = _column(schema, LABEL_COLUMNS, file)
            values = pq.read_table(file, columns=[label]).column(label)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise ValueError(_damaged(file, error)) from error
        if not pa.types.is_integer(values.type) or values.null_count:
            raise ValueError(f"{file} needs a whole number in every row of its column {label!r}")
        labels.append(values.to_numpy().astype(np.int64))
        classes = classes or _class_names(schema, label)
    if not sum(map(len, labels)):
        raise ValueError(f"{files[0]} holds no images")
    return Source(files, image, np.concatenate(labels), classes)


def _column(schema: pa.Schema, names: tuple[str, ...], file: Path) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise ValueError(
        f"{file} has the columns {', '.join(schema.names)}, but none is named {' or '.join(names)}"
    )


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Names of a ``ClassLabel`` feature; None where the metadata is absent or says otherwise."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (TypeError, KeyError, ValueError):
        return None
    return [str(name) for name in names]


def _read(
    source: Source, indices: Int[np.ndarray, " m"], image_size: int | None
) -> tuple[torch.Tensor | Encoded, Int[np.ndarray, " m"]]:
    encoded, names = [], []
    start = 0
    for file in source.files:
        column = _image_bytes(file, source.column)
        rows = indices[(indices >= start) & (indices < start + len(column))] - start
        encoded += column.take(pa.array(rows)).to_pylist()
        names += [f"row {row} of {file}" for row in rows]
        start += len(column)
    if start != len(source.labels):
        raise ValueError(
            f"{source.files[0].parent if len(source.files) > 1 else source.files[0]} is damaged: "
            f"it has {start:,} images and {len(source.labels):,} labels"
        )
    missing = [name for name, data in zip(names, encoded, strict=True) if data is None]
    if missing:
        raise ValueError(f"{missing[0]} holds no image bytes in its column {source.column!r}")
    return hold(Encoded(encoded, names, image_size)), source.labels[indices]


def _damaged(file: Path, error: Exception) -> str:
    said = str(error).strip().partition("\n")[0]
    return f"{file} cannot be read as Parquet: {said:.200}"


def _image_bytes(file: Path, column: str) -> pa.ChunkedArray:
    try:
        cells = pq.read_table(file, columns=[column]).column(column)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise ValueError(_damaged(file, error)) from error
    if not pa.types.is_struct(cells.type) or cells.type.get_field_index("bytes") < 0:
        raise ValueError(
            f"{file} has the type {cells.type} in its column {column!r}, but images are needed as "
            "a struct with the field 'bytes'"
        )
    # large offsets: the taken cells of one file may pass 2 GiB together
    return pa.chunked_array(
        [chunk.field("bytes").cast(pa.large_binary()) for chunk in cells.chunks], pa.large_binary()
    )
