"""Run: a captured run, open for reading and for analysis."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64

from kdanalysis.core.regions import count_regions
from kdanalysis.store.grams import gram_batches, gram_index
from kdanalysis.store.run import StoredRun
from kdanalysis.studies.region_tables import loss_of_region, region_analyzer, region_tables
from kdanalysis.studies.stream import feed, needed_columns
from kdanalysis.studies.tables import LAYER_TABLES, REGION_TABLES, TABLES, analyzer, layer_analyzer

MOST_STEPS = 400
MOST_EPOCHS = 40  # in the tables of regions
BATCH = 2**20  # numbers in a batch of region logits
Watch = Callable[[Iterable[Mapping]], Iterable[Mapping]]


class Run(StoredRun):
    """A run folder with its rows (see ``StoredRun``) and its tables."""

    def table(self, name: str) -> pd.DataFrame:
        """Compute one table from all rows; see ``kdanalysis.studies.tables`` for the names.

        Raises:
            ValueError: no such table, or the run lacks a column that it needs.
        """
        return self.tables([name])[name]

    def tables(
        self,
        names: Sequence[str] = TABLES,
        device: Any = "cpu",
        watch: Watch = iter,
    ) -> dict[str, pd.DataFrame]:
        """Compute several tables in one pass over the rows, one over layers, and one over regions.

        Tables by step have a row for every captured step. Beyond 400 of them a row stands for the
        steps from its own to the next row's, so that memory does not grow with the training; so
        does a row of the regions' tables for several epochs beyond 40.

        Args:
            names: which tables.
            device: where to compute.
            watch: wraps the batches, for a progress bar.

        Raises:
            ValueError: no such table, or the run lacks a column that it needs.
        """
        frames = {}
        apart = (*LAYER_TABLES, *REGION_TABLES)
        if of_samples := [name for name in names if name not in apart]:
            frames |= self._sample_tables(of_samples, device, watch)
        if of_layers := [name for name in names if name in LAYER_TABLES]:
            frames |= self._layer_tables(of_layers, device, watch)
        if of_regions := [name for name in names if name in REGION_TABLES]:
            frames |= self._region_tables(of_regions, device, watch)
        return {name: frames[name] for name in names}

    def _sample_tables(
        self, names: Sequence[str], device: Any, watch: Watch
    ) -> dict[str, pd.DataFrame]:
        marks = thinned(self.steps(), MOST_STEPS)
        analyzers = {name: analyzer(name, self.info, marks.tolist()) for name in names}
        wanted = set()
        for name, one in analyzers.items():
            needed, optional = needed_columns(one)
            if missing := sorted(needed - set(self.columns)):
                raise ValueError(
                    f"table {name!r} needs the column {missing[0]!r}, which {self.path} lacks; "
                    f"it has: {', '.join(self.columns) or 'no rows at all'}"
                )
            wanted |= needed | (optional & set(self.columns))
        batches = (on_marks(batch, marks) for batch in self.batches(sorted(wanted)))
        feed(watch(batches), analyzers.values(), device)
        return {name: one.table() for name, one in analyzers.items()}

    def _layer_tables(
        self, names: Sequence[str], device: Any, watch: Watch
    ) -> dict[str, pd.DataFrame]:
        if not self.layer_columns:
            raise ValueError(
                f"table {names[0]!r} needs gradients at layers, which {self.path} lacks: record "
                f"them with Recorder(keep=kd.Layers(...))"
            )
        if "snr" in names and "covariance" not in self.layer_columns:
            raise ValueError(
                f"table 'snr' needs the variance of the gradients at layers, which {self.path} "
                f"lacks: record it with Recorder(keep=kd.Layers(..., noise=True))"
            )
        index = gram_index(self)
        marks = thinned(index.steps, MOST_STEPS)
        analyzers = {name: layer_analyzer(name, index, marks.tolist()) for name in names}
        batches = (on_marks(batch, marks) for batch in gram_batches(self, index))
        feed(watch(batches), analyzers.values(), device)
        return {name: one.table() for name, one in analyzers.items()}

    def _region_tables(
        self, names: Sequence[str], device: Any, watch: Watch
    ) -> dict[str, pd.DataFrame]:
        if not self.region_columns:
            raise ValueError(
                f"table {names[0]!r} needs region logits, which {self.path} lacks: record them "
                f"with Recorder(keep=kd.Regions(...)) or train --record-regions"
            )
        scales, classes = self.info.scales, self.info.num_classes
        epochs = [np.unique(batch["epoch"]) for batch in self.region_batches(["epoch"], 65_536)]
        marks = thinned(np.unique(np.concatenate(epochs)).astype(np.int64), MOST_EPOCHS)
        setting = loss_of_region(self.info), classes, scales, marks.tolist()
        analyzers = {name: region_analyzer(name, *setting) for name in names}
        columns = set().union(*(part for a in analyzers.values() for part in needed_columns(a)))
        size = max(1, BATCH // (classes * count_regions(scales)))
        batches = self.region_batches(sorted(columns), size)
        marked = (on_marks(batch, marks, "epoch") for batch in batches)
        feed(watch(marked), analyzers.values(), device)
        return {name: one.table() for name, one in analyzers.items()}

    @property
    def region_tables(self) -> tuple[str, ...]:
        """Those of ``REGION_TABLES`` that the recorded regions have."""
        return region_tables(self.info.scales) if self.region_columns else ()

    @property
    def layer_tables(self) -> tuple[str, ...]:
        """Those of ``LAYER_TABLES`` that were recorded."""
        known = {"layers": "dot", "snr": "covariance"}
        return tuple(name for name in LAYER_TABLES if known[name] in self.layer_columns)


def thinned(steps: Int64[np.ndarray, " s"], most: int) -> Int64[np.ndarray, " t"]:
    """Return at most ``most`` of the ascending steps, evenly spread, the first one included."""
    return steps[:: max(1, -(-len(steps) // most))]


def on_marks(batch: Mapping, marks: Int64[np.ndarray, " t"], column: str = "step") -> dict:
    """Replace every step, or epoch, by the last mark that is not after it."""
    if column not in batch:
        return dict(batch)
    place = np.searchsorted(marks, batch[column], side="right") - 1
    return {**batch, column: marks[place]}


def open_run(path: str | Path) -> Run:
    """Open a run folder; damaged parts are left out and listed in ``skipped``.

    Raises:
        FileNotFoundError: the folder is no run folder.
        ValueError: its run.json is damaged or from a newer version.
    """
    return Run(Path(path).expanduser())
