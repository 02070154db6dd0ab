"""Checkpoints: a network with what its training needs to go on, written whole or not at all."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdanalysis.models import build_model
from kdanalysis.store.commit import sync_folder


def save_checkpoint(path: Path, model: nn.Module, facts: dict[str, Any], **state: Any) -> None:
    """Write weights, ``facts`` (``model`` is the network's name, ``classes``) and further state."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            torch.save({"weights": model.state_dict(), "facts": facts, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


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


def load_network(path: Path, num_classes: int) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained network of a checkpoint, and the checkpoint's facts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged, of another kind, or trained for another number of classes.
    """
    found = read_checkpoint(path)
    facts = found["facts"]
    if len(facts["classes"]) != num_classes:
        raise ValueError(
            f"{path} tells {len(facts['classes'])} classes apart, the data has {num_classes}: "
            f"a teacher and its student need the same classes"
        )
    model = build_model(facts["model"], num_classes)
    model.load_state_dict(found["weights"])
    return model, facts
