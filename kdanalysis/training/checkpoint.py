"""Checkpoints: a network with what its training needs to go on, written whole or not at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdanalysis.data import DataSplits
from kdanalysis.networks.zoo import build_model
from kdanalysis.store.files import whole_file
from kdanalysis.training.foreign import (
    COUNTER,
    HOLDERS,
    classes_of,
    pixels_of,
    recognise,
    weights_in,
)
from kdanalysis.training.pixels import renormalise

SUFFIXES = (".pt", ".pth", ".th")  # of the files that hold networks


def save_checkpoint(path: Path, model: nn.Module, facts: dict[str, Any], **state: Any) -> None:
    """Write weights, ``facts`` (``model`` is the network's name, ``classes``) and further state."""
    with whole_file(path) as file:
        torch.save({"weights": model.state_dict(), "facts": facts, **state}, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this package; only tensors and plain values are ever loaded from it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or not a checkpoint of this package.
    """
    found = _read(path)
    if not isinstance(found, dict) or not {"weights", "facts"} <= found.keys():
        raise ValueError(f"{path} is not a checkpoint that kdanalysis train wrote")
    return found


def _read(path: Path) -> Any:
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in any way its opcodes can
        raise ValueError(
            f"{path} cannot be read as a checkpoint: damaged or of another kind"
        ) from error


def load_network(path: Path, data: DataSplits) -> nn.Module:
    """Return the trained network of a checkpoint, ready for the images of a data set.

    Checkpoints of others are read too, see ``foreign``. A network that was trained on pixels of
    another normalisation than the data's brings them to it by itself. Classes are compared by name
    where the checkpoint names them, else by their number.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged, of no network known here, or trained for other classes or in another
            order.
    """
    found = _read(path)
    weights = weights_in(found)
    if weights is None:
        raise ValueError(
            f"{path} holds no weights: need a state dict, or one under {', '.join(HOLDERS)}"
        )
    facts = found.get("facts") or {}
    try:
        name = facts.get("model") or recognise(weights)
        model = build_model(name, classes_of(weights))
        missing = model.load_state_dict(weights, strict=False).missing_keys
        if lost := [key for key in missing if not key.endswith(COUNTER)]:
            raise ValueError(f"it lacks the weights {lost[0]!r} of a {name}")
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be used here: {said:.300}") from error
    _check_classes(path, facts.get("classes", len(model.head.weight)), data.classes)
    pixels = facts or pixels_of(name)
    if "mean" in pixels:
        renormalise(model, data, torch.tensor(pixels["mean"]), torch.tensor(pixels["std"]))
    return model


def _check_classes(path: Path, theirs: Sequence[str] | int, classes: Sequence[str]) -> None:
    need = "a teacher and its student need the same classes in one order"
    count = theirs if isinstance(theirs, int) else len(theirs)
    if count != len(classes):
        raise ValueError(f"{path} tells {count} classes apart, the data has {len(classes)}: {need}")
    pairs = zip(classes if isinstance(theirs, int) else theirs, classes, strict=True)
    for place, (old, new) in enumerate(pairs):
        if old != new:
            raise ValueError(
                f"class {place} of {path} is {old!r}, in the data it is {new!r}: {need}"
            )
