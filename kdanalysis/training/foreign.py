"""Weights of networks that were trained elsewhere: found in a file, and what they fit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kdanalysis.networks.zoo import MODELS, build_model

HOLDERS = ("weights", "state_dict", "model", "net")  # under which files keep a state dict
HEADS = ("fc.weight", "classifier.weight")
OURS = {"linear.": "fc.", ".shortcut.": ".downsample."}  # names that others give the same layers
COUNTER = "num_batches_tracked"  # of batch norms; files older than it lack it
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def weights_in(found: Any) -> dict[str, Tensor] | None:
    """Return the weights that a file holds, by the names of this package; None: it holds none.

    They may lie under "weights", "state_dict", "model" or "net"; ``module.`` before the names, as
    DataParallel leaves it, is taken off.
    """
    if not isinstance(found, Mapping):
        return None
    held = next((found[key] for key in HOLDERS if isinstance(found.get(key), Mapping)), found)
    if not held or not all(isinstance(one, Tensor) for one in held.values()):
        return None
    return {_renamed(str(name)): one for name, one in held.items()}


def _renamed(name: str) -> str:
    name = name.removeprefix("module.")
    for theirs, ours in OURS.items():
        name = ours + name.removeprefix(theirs) if name.startswith(theirs) else name
        name = name.replace(theirs, ours) if theirs.startswith(".") else name
    return name


def recognise(weights: Mapping[str, Tensor]) -> str:
    """Return the name of the reference network that these weights fit.

    Raises:
        ValueError: there is none.
    """
    shapes, classes = _shapes(weights), classes_of(weights)
    for name in MODELS if classes else ():
        with torch.device("meta"):
            if _shapes(build_model(name, classes).state_dict()) == shapes:
                return name
    name, shape = next(iter(shapes.items()))
    raise ValueError(
        f"its {len(shapes)} tensors, such as {name!r} of shape {shape}, fit none of the networks "
        f"{', '.join(MODELS)}"
    )


def classes_of(weights: Mapping[str, Tensor]) -> int:
    """Return how many classes the head tells apart; 0 where there is none that is known here."""
    return next((len(weights[head]) for head in HEADS if head in weights), 0)


def pixels_of(name: str) -> dict[str, list[float]]:
    """Return the normalisation of a network whose file does not say; {}: that of the data.

    Those with padded shortcuts that go round are the CIFAR-10 networks of Idelbayev ("Proper
    ResNet implementation"), trained on pixels normalised by the statistics of ImageNet.
    """
    return IMAGENET if name.endswith("a") else {}


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {k: tuple(one.shape) for k, one in weights.items() if not k.endswith(COUNTER)}
