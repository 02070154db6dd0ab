"""What users give a page to look at: networks, as they are or by their checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kdanalysis.core.device import as_device
from kdanalysis.data import DataSplits
from kdanalysis.training.checkpoint import SUFFIXES, load_network


def network_of(given: Any, data: DataSplits, device: Any) -> nn.Module:
    """Return a network on the device, read from its checkpoint where a path is given."""
    network = given if isinstance(given, nn.Module) else load_network(Path(given), data)
    return network.to(as_device(device))


def is_network(given: Any) -> bool:
    """Whether something is a network or the path of a checkpoint, and not logits or regions."""
    if isinstance(given, Mapping):
        return False
    return isinstance(given, nn.Module) or Path(given).suffix in SUFFIXES


def called(given: Any) -> str:
    """Return what readers call a network, a file or arrays."""
    if isinstance(given, Mapping):
        return "arrays"
    return type(given).__name__ if isinstance(given, nn.Module) else str(given)
