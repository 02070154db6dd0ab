"""What a recorder was asked for, checked before training starts."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from kdanalysis.capture.layers import Layers
from kdanalysis.capture.regions import Regions
from kdanalysis.capture.samples import check_count
from kdanalysis.capture.schedule import Schedule
from kdanalysis.capture.top import check_top
from kdanalysis.core.arguments import typed
from kdanalysis.core.draws import check_seed
from kdanalysis.core.partition import TopK
from kdanalysis.losses import Loss
from kdanalysis.store.floats import DTYPES
from kdanalysis.store.folder import refuse_existing

Kept = Layers | Regions | TopK
CHOICES = {
    "dtype": (*DTYPES, "same"),
    "existing": ("error", "overwrite", "resume"),
    "full": ("block", "drop"),
    "on_error": ("raise", "warn"),
}


@typed(advice={name: f", one of {', '.join(valid)}" for name, valid in CHOICES.items()})
@dataclass(frozen=True)
class Store:
    """How a run is kept on the disk, and what is kept with it.

    Args:
        dtype: of logits: "float16" (up to 65 504, else refused), "bfloat16", "float32", "float64"
            or "same".
        existing: "error", "overwrite" or "resume", where the folder already holds a run.
        on_error: "raise", or "warn" and let the training go on, when the disk fails.
        full: "block" or "drop", when the disk is slower than training.
        classes: names of the classes.
        settings: plain JSON values to keep with the run.

    Raises:
        ValueError: an argument that cannot be used.
    """

    dtype: str = "float16"
    existing: str = "error"
    on_error: str = "raise"
    full: str = "block"
    classes: Sequence[str] | None = None
    settings: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} is one of {valid}, got {getattr(self, name)!r}")
        try:
            json.dumps(self.settings, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings must be plain JSON values: {error}") from None
        object.__setattr__(self, "settings", dict(self.settings or {}))
        if self.classes is not None:
            object.__setattr__(self, "classes", list(self.classes))


@typed
@dataclass(frozen=True)
class Scaling:
    """What your loop multiplies a loss by before ``backward()``; the residual divides it out.

    Args:
        scaler: the GradScaler in use.
        accumulate: how many losses you add up before a step of the optimizer, where you divide
            each by that number.

    Raises:
        ValueError: an ``accumulate`` below 1, or a scaler that does not say its scale.
    """

    scaler: Any = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_count("accumulate", self.accumulate)
        if self.scaler is not None and not hasattr(self.scaler, "get_scale"):
            raise ValueError(
                f"scaler must be a GradScaler, whose get_scale() says by how much a loss is "
                f"multiplied, or None; got {self.scaler!r:.80}"
            )

    @property
    def factor(self) -> float | None:
        """What the scaler multiplies a loss by now; None without one."""
        return None if self.scaler is None else self.scaler.get_scale()


@dataclass(frozen=True)
class Options:
    """The arguments of ``Recorder``, checked together, ``keep`` sorted by kind.

    Raises:
        ValueError: one that cannot be used.
        FileExistsError: the folder holds a run, or other files.
    """

    path: Path
    rank: int
    loss: Loss | None
    layers: Layers | None
    regions: Regions | None
    top: TopK | None
    schedule: Schedule
    max_rows: int | None
    seed: int
    store: Store
    scaling: Scaling
    listener: Callable[..., None] | None

    def __post_init__(self) -> None:
        if self.max_rows is not None:
            check_count("max_rows", self.max_rows)
        check_seed(self.seed)
        if self.regions and getattr(self.loss, "stacked", None) is not None:
            raise ValueError(
                "regions cannot be kept beside a loss on stepping stones: leave them out"
            )
        if self.layers and self.loss is None:
            raise ValueError("layers need a loss: what is kept are the gradients of its terms")
        check_top(self.top)
        refuse_existing(self.path, self.store.existing, self.rank)


def sort_kept(keep: Any) -> dict[str, Any]:
    """Return layers, regions and top, each None where it is not among what is to be kept.

    Raises:
        ValueError: it is anything else, or two of a kind.
    """
    given = tuple(keep) if isinstance(keep, tuple | list) else (keep,)
    found: dict[type, Any] = {type(one): one for one in given}
    kinds = {"layers": Layers, "regions": Regions, "top": TopK}
    if len(found) < len(given) or not found.keys() <= {*kinds.values()}:
        raise ValueError(
            f"keep takes Layers, Regions and TopK, at most one of each, alone or in a tuple; got "
            f"{keep!r:.200}"
        )
    return {name: found.get(kind) for name, kind in kinds.items()}


def place() -> tuple[int, int]:
    """Return the rank of this process and the number of processes.

    They are those of torch.distributed where it runs, since not every launcher sets the variables
    RANK and WORLD_SIZE as torchrun does; else those of the variables, else 0 and 1.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
