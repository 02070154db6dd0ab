"""Checkpoints: a network with what its training needs to go on, written whole or not at all."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdanalysis.networks.zoo import build_model
from kdanalysis.store.files import whole_file


def save_checkpoint(path: Path, model: nn.Module, facts: dict[str, Any], **state: Any) -> None:
    """Write weights, ``facts`` (``model`` is the network's name, ``classes``) and further state."""
    with whole_file(path) as file:
        torch.save({"weights": model.state_dict(), "facts": facts, **state}, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are ever loaded from it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or not a checkpoint of this package.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint: damaged or of another kind"
        ) from error
    if not isinstance(found, dict) or not {"weights", "facts"} <= found.keys():
        raise ValueError(f"{path} is not a checkpoint that kdanalysis train wrote")
    return found


def load_network(path: Path, classes: Sequence[str]) -> nn.Module:
    """Return the trained network of a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged, of another kind, or trained for other classes or another order.
    """
    found = read_checkpoint(path)
    facts, need = found["facts"], "a teacher and its student need the same classes in one order"
    if len(facts["classes"]) != len(classes):
        raise ValueError(
            f"{path} tells {len(facts['classes'])} classes apart, the data has {len(classes)}: "
            f"{need}"
        )
    pairs = enumerate(zip(facts["classes"], classes, strict=True))
    for place, (old, new) in pairs:
        if old != new:
            raise ValueError(
                f"class {place} of {path} is {old!r}, in the data it is {new!r}: {need}"
            )
    model = build_model(facts["model"], len(classes))
    model.load_state_dict(found["weights"])
    return model
