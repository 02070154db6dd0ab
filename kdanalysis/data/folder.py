"""Folders with one folder of images a class."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int

from kdanalysis.data.encoded import Encoded, hold
from kdanalysis.data.splits import DataSplits, make_splits
from kdanalysis.data.strata import choose

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
VALID_NAMES = ("valid", "val", "validation", "test")


class Listing(NamedTuple):
    """Image files and the class of each."""

    files: list[Path]
    labels: Int[np.ndarray, " n"]


def load_folder(
    root: Path, image_size: int | None = None, seed: int = 0, limit: int | None = None
) -> DataSplits:
    """Read class folders, at the top or inside ``train`` and one of ``valid``, ``val``, ``test``.

    Without a validation folder a stratified fifth of the images, drawn by ``seed``, is for
    validation. Images may lie deeper inside a class folder; hidden files and other kinds of files
    are passed over. With an ``image_size`` images are cropped to the centred square and resized;
    without one they must all have one size. Sets that decode to more than a gigabyte are decoded
    batch by batch. ``limit`` keeps that many training images, and a quarter as many for validation.

    Raises:
        ValueError: no images, one class only, a class without images, a validation class that
            training lacks, sizes that differ, or an image that cannot be read (named).
    """
    top, below = _levels(root)
    classes = [folder.name for folder in _folders(top)]
    train = _list_classes(top, classes)
    valid = None if below is None else _list_classes(below, classes)
    chosen = choose(train.labels, valid and valid.labels, seed, limit)
    parts = [
        _read(source, indices, image_size)
        for source, indices in zip((train, valid or train), chosen, strict=True)
    ]
    return make_splits(root.resolve().name, classes, *parts, mirror=True)


def _levels(root: Path) -> tuple[Path, Path | None]:
    """Return the folder that holds the training classes, and the one for validation if any."""
    if not (root / "train").is_dir():
        return root, None
    found = [root / name for name in VALID_NAMES if (root / name).is_dir()]
    return root / "train", found[0] if found else None


def _folders(top: Path) -> list[Path]:
    return sorted(p for p in top.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list_classes(top: Path, classes: list[str]) -> Listing:
    folders = _folders(top)
    if not folders:
        raise ValueError(f"{top} holds no images in class folders: one folder a class is needed")
    if strange := [folder.name for folder in folders if folder.name not in classes]:
        raise ValueError(f"{top} has the class {strange[0]!r}, which the training images lack")
    if len(classes) < 2:
        raise ValueError(f"{top} has the one class {classes[0]!r}, but two are needed at least")
    files, labels = [], []
    for folder in folders:
        found = _images(folder)
        if not found:
            raise ValueError(f"the class folder {folder} holds no images")
        files += found
        labels += [classes.index(folder.name)] * len(found)
    return Listing(files, np.array(labels, dtype=np.int64))


def _images(folder: Path) -> list[Path]:
    return sorted(
        Path(place) / name
        for place, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
    )


def _read(
    listing: Listing, indices: Int[np.ndarray, " m"], image_size: int | None
) -> tuple[torch.Tensor | Encoded, Int[np.ndarray, " m"]]:
    files = [listing.files[i] for i in indices]
    return hold(Encoded(files, [str(file) for file in files], image_size)), listing.labels[indices]
