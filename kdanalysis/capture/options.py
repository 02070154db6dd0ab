"""What a recorder was asked for: checked before training starts, opened at its first record."""

import json
import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdanalysis import __version__
from kdanalysis.capture.place import place
from kdanalysis.capture.schedule import Schedule
from kdanalysis.core.regions import check_scales
from kdanalysis.losses import Loss
from kdanalysis.store.floats import DTYPES
from kdanalysis.store.folder import refuse_existing
from kdanalysis.store.info import RunInfo
from kdanalysis.store.queue import QueueWriter
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter

CHOICES = {
    "dtype": (*DTYPES, "same"),
    "existing": ("error", "overwrite", "resume"),
    "full": ("block", "drop"),
    "on_error": ("raise", "warn"),
}


@dataclass
class Options:
    """The arguments of ``Recorder`` of the same names, checked.

    Raises:
        ValueError: one that cannot be used.
        FileExistsError: the folder holds a run, or other files.
    """

    path: Path
    rank: int
    loss: Loss | None
    layers: tuple[str, ...]
    noise: bool
    regions: tuple[int, ...]
    region_rows: int
    schedule: Schedule
    max_rows: int | None
    dtype: str
    classes: list[str] | None
    seed: int
    accumulate: int
    settings: dict[str, Any]
    existing: str
    full: str
    on_error: str
    listener: Callable[..., None] | None = None

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} is one of {valid}, got {getattr(self, name)!r}")
        for name in ("max_rows", "accumulate", "region_rows"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        if self.loss is not None and not isinstance(self.loss, Loss):
            raise ValueError(
                f"loss must be a kdanalysis loss such as GDKD(), got {self.loss!r:.80}"
            )
        self.regions = check_scales(self.regions) if len(self.regions) else ()
        if self.regions and getattr(self.loss, "stacked", None) is not None:
            raise ValueError(
                "regions cannot be kept beside a loss on stepping stones: leave them out"
            )
        if self.layers and self.loss is None:
            raise ValueError("layers need a loss: what is kept are the gradients of its terms")
        if not callable(self.schedule):
            raise ValueError(f"schedule must be a function of the step, got {self.schedule!r}")
        if not isinstance(self.seed, int):
            raise ValueError(f"seed must be a whole number, got {self.seed!r}")
        try:
            json.dumps(self.settings, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings must be plain JSON values: {error}") from None
        refuse_existing(self.path, self.existing, self.rank)

    def first_step(self) -> int:
        """Return 0, or the step after the last captured one of a run that is resumed."""
        if self.existing != "resume":
            return 0
        try:
            return int(max(StoredRun(self.path).steps(), default=-1)) + 1
        except FileNotFoundError:
            return 0

    def open_writer(self, num_classes: int) -> QueueWriter | None:
        """Open the run; None after one warning, where it cannot be opened and ``on_error`` warns.

        Raises:
            ValueError: class names of another number than the logits have classes.
            OSError: the folder cannot be written, or is being written by another process.
        """
        info = self._info(num_classes)
        try:
            parts = PartWriter(self.path, self.rank, info, self.dtype, existing=self.existing)
        except OSError as error:
            if self.on_error == "raise":
                raise
            warnings.warn(
                f"nothing more is recorded into {self.path}, training goes on: {error}",
                RuntimeWarning,
                stacklevel=7,
            )
            return None
        return QueueWriter(parts, full=self.full, on_error=self.on_error)

    def _info(self, num_classes: int) -> RunInfo:
        loss = self.loss
        weights = {} if loss is None else loss.term_weights
        return RunInfo(
            num_classes=num_classes,
            classes=self.classes,
            loss="" if loss is None else repr(loss),
            terms=() if loss is None else loss.terms,
            weights=weights,
            temperature=None if loss is None else loss.temperature,
            settings=self.settings,
            versions={
                "kdanalysis": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
            world_size=place()[1],
            seed=self.seed,
            scales=self.regions,
        )
