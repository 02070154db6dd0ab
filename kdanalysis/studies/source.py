"""Files and runs to compare: opened, held against each other, and read once in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.pages.run import short_names
from kdanalysis.store.info import RunInfo, read_info
from kdanalysis.store.sources import Logits, load_logits
from kdanalysis.studies.run import on_marks, thinned
from kdanalysis.studies.stream import Batches, feed_share, needed_columns, runnable

Watch = Callable[[Batches], Batches]
ENTRIES = {"cpu": 2**17}  # rows x classes of a batch: some copies of it are alive at a time
MANY = 2**22  # on other devices


@dataclass(frozen=True, eq=False)
class Source:
    """Logits of a student and its teacher, with the training steps to tell apart.

    ``marks`` are captured steps: a row of a table stands for the steps from its own to the next.
    They are (0,) where the logits come from no training.
    """

    name: str
    logits: Logits
    info: RunInfo
    marks: tuple[int, ...]

    @property
    def over_steps(self) -> bool:
        """Whether the logits come from the steps of a training."""
        return "step" in self.logits.columns

    @property
    def label(self) -> str:
        """The name for readers: a run may be named like a loss."""
        return f"run {self.name}" if self.over_steps else self.name

    @property
    def has_target(self) -> bool:
        """Whether there are labels."""
        return self.logits.has_target

    def on_marks(self, batches: Batches) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield the batches with their steps replaced by their marks."""
        marks = np.array(self.marks)
        return (on_marks(batch, marks) for batch in batches)


def open_sources(paths: Sequence[Path], most_steps: int) -> dict[str, Source]:
    """Open every path under a short name.

    Args:
        paths: run folders and files of logits.
        most_steps: captured steps beyond this number are put together.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: a path is given twice, a file cannot be read, holds no student, or has another
            number of classes than the first.
    """
    sources = {
        name: open_source(name, path, most_steps) for name, path in short_names(paths).items()
    }
    first, *others = sources.values()
    for other in others:
        if other.info.num_classes != first.info.num_classes:
            raise ValueError(
                f"{first.name} has {first.info.num_classes} classes and {other.name} has "
                f"{other.info.num_classes}: only logits over the same classes can be compared"
            )
    return sources


def open_source(name: str, path: Path, most_steps: int) -> Source:
    """Open one path; see :func:`open_sources`."""
    logits = load_logits(path)
    if not logits.has_student:
        raise ValueError(
            f"{path} holds teacher logits alone: the losses' gradients are in the student's "
            f"logits, so student_logits are needed beside them"
        )
    folder = path.expanduser()
    info = read_info(folder) if folder.is_dir() else RunInfo(logits.num_classes, logits.classes)
    return Source(name, logits, info, captured_steps(logits, most_steps))


def captured_steps(logits: Logits, most: int) -> tuple[int, ...]:
    """Return the steps of the rows, thinned to ``most``; (0,) where they have none."""
    if "step" not in logits.columns:
        return (0,)
    parts = [np.unique(batch["step"]) for batch in logits.batches(65_536, ["step"])]
    return tuple(thinned(np.unique(np.concatenate(parts)), most).tolist())


def study(
    source: Source,
    analyzers: Mapping[str, Analyzer],
    device: torch.device | str = "cpu",
    watch: Watch = iter,
) -> dict[str, pd.DataFrame]:
    """Read a source once and return the tables that its columns allow.

    Under several ranks each reads its share of the rows, and all have the tables of all rows.
    """
    able = runnable(analyzers, source.logits.columns)
    wanted = set().union(*(part for one in able.values() for part in needed_columns(one)))
    columns = [name for name in source.logits.columns if name in wanted]
    entries = ENTRIES.get(torch.device(device).type, MANY)
    rows = int(np.clip(entries // source.info.num_classes, 64, 4096))
    feed_share(
        source.logits,
        columns,
        able.values(),
        device,
        lambda batches: watch(source.on_marks(batches)),
        rows,
    )
    return {name: one.table() for name, one in able.items()}
