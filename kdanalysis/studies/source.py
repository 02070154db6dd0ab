"""Source: a run, a file of logits, a file of regions or arrays, as columns in batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64

from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.ranks import RANKS
from kdanalysis.core.regions import count_regions
from kdanalysis.core.vocabulary import POSITIONS
from kdanalysis.store.grams import GramIndex, gram_batches, gram_index
from kdanalysis.store.info import RunInfo
from kdanalysis.store.run import StoredRun
from kdanalysis.store.sources import Logits, Regions
from kdanalysis.studies.features import Features
from kdanalysis.studies.marks import LOOK, TIMED, on_marks, ramps_of, thinned, times_of
from kdanalysis.studies.positions import are_tokens
from kdanalysis.studies.setting import compared_at, of_samples, setting_of

MOST = {"samples": 400, "layers": 400, "regions": 40}  # steps, or epochs, that tables tell apart
BY = {"samples": "step", "layers": "step", "regions": "epoch", "features": ""}
ENTRIES = {"cpu": 2**17}  # rows x classes of a batch: some copies of it are alive at a time
MANY = 2**22  # on other devices
FEWEST, WIDE = 64, 2**20  # rows of a batch, unless they have more entries than this
REGION_ENTRIES = 2**20  # numbers in a batch of region logits


class Source:
    """Columns of what is analysed, by kind: rows of samples, of layers, of regions, of features.

    Beyond 400 captured steps a row of a table stands for the steps from its own to the next row's,
    so that memory does not grow with the training; so it does for several epochs beyond 40 in the
    tables of regions. The first of each are ``marks``; (0,) where rows come from no training.

    Args:
        name: for readers.
        logits: as ``load_logits`` gives them, or None.
        run: the stored run, where they are a run's.
        regions: as ``load_regions`` gives them, in place of logits.
        scales: of the regions, where no run says them.
        most_steps: captured steps beyond this number are put together.
    """

    def __init__(
        self,
        name: str,
        logits: Logits | None,
        run: StoredRun | None = None,
        regions: Regions | None = None,
        scales: tuple[int, ...] = (),
        most_steps: int = MOST["samples"],
    ) -> None:
        self.name, self.logits, self.run, self.regions = name, logits, run, regions
        # rows without a label, and those of them with a target over the classes; known when the
        # columns have been read
        self.unlabelled = self.soft = 0
        self.paired: dict[tuple[str, str], str] = {}  # what was warned of two sides' rows
        self.most = MOST | {"samples": most_steps}
        held = logits or regions
        self.path = held.path if run is None else run.path
        classes = getattr(held, "classes", None)
        self.info = run.info if run else RunInfo(held.num_classes, classes, scales=scales)
        if run and logits is not None and logits.num_classes < run.info.num_classes:
            self.info = replace(run.info, num_classes=logits.num_classes, classes=classes)

    @property
    def over_steps(self) -> bool:
        """Whether the logits come from the steps of a training."""
        return "step" in self.columns("samples")

    @property
    def kept(self) -> bool:
        """Whether a few classes of every row were kept in place of all logits."""
        return self.logits is None and self.run is not None and self.run.kind == "tokens"

    @property
    def width(self) -> int:
        """Numbers of a side in a row of samples: its classes, or those that were kept."""
        return self.info.kept + 1 if self.kept else self.info.num_classes

    @property
    def label(self) -> str:
        """The name for readers: a run or a file may be named like a loss."""
        return f"{'run' if self.over_steps else 'student'} {self.name}"

    @property
    def has_target(self) -> bool:
        """Whether there are labels."""
        return "target" in self.columns("samples")

    @property
    def trained_fact(self) -> str | None:
        """Where the loss that trained stands in the tables, or why not; None of one compared."""
        return of_samples(self.info)

    @cached_property
    def num_rows(self) -> int:
        """Rows of samples, or of regions where there are no others."""
        return (self.logits or self.regions or self.run).num_rows

    def columns(self, kind: str = "samples") -> tuple[str, ...]:
        """Names of the columns of a kind; none where there are no such rows."""
        derived = ("position",) if kind == "samples" and self.of_tokens else ()
        return (*self._held(kind), *derived)

    def _held(self, kind: str) -> tuple[str, ...]:
        if kind == "features":
            return self.features.columns if self.features else ()
        held = self.logits if kind == "samples" else self.regions if kind == "regions" else None
        if held is not None:
            return held.columns
        there = self.run.columns_of(self._stored(kind)) if self.run else ()
        if kind != "layers" or not there:
            return there
        matrices = ("covariance", "count") if "covariance" in there else ()
        return ("step", "epoch", "layer", "gram", *matrices)

    @cached_property
    def features(self) -> Features | None:
        """The features beside the logits of a file; None where there are none."""
        found = Features(self.logits) if self.logits is not None else None
        return found if found and found.widths else None

    def share(self, kind: str) -> range | None:
        """Return which rows of a kind are this rank's; None: all."""
        if kind == "features":
            return RANKS.share(len(self.features.rows))
        return RANKS.share(self.num_rows) if kind == "samples" else None

    @cached_property
    def of_tokens(self) -> bool:
        """Whether a run's samples are tokens, whose ids say where in its text each stands."""
        known = self._held("samples") if self.run is not None else ()
        if "sample_id" not in known or "position" in known:
            return False
        return are_tokens(b["sample_id"] for b in self._read("samples", ["sample_id"], LOOK, None))

    @cached_property
    def layers(self) -> GramIndex:
        """What a run recorded at layers."""
        return gram_index(self.run)

    @cached_property
    def _marks(self) -> dict[str, tuple[int, ...]]:
        return {}

    @cached_property
    def _settings(self) -> dict[tuple, Setting]:
        return {}

    @cached_property
    def _ramps(self) -> dict[str, tuple[float, ...]]:
        return {} if self.run is None else ramps_of(self.run, self.marks())

    def marks(self, kind: str = "samples") -> tuple[int, ...]:
        """The steps, of regions the epochs, that tables tell apart; (0,) where there are none."""
        if kind not in self._marks:
            found = self._captured(kind)
            marks = thinned(found, self.most[kind]).tolist() if len(found) else [0]
            self._marks[kind] = tuple(marks)
        return self._marks[kind]

    def _captured(self, kind: str) -> Int64[np.ndarray, " s"]:
        if BY[kind] not in self.columns(kind):
            return np.zeros(0, np.int64)
        if kind == "layers":
            return self.layers.steps  # read for its names anyway
        if kind == "samples" and self.run is not None:
            return self.run.steps()
        parts = [np.unique(b[BY[kind]]) for b in self._read(kind, [BY[kind]], LOOK, None)]
        return np.unique(np.concatenate(parts)).astype(np.int64)

    def batches(
        self, kind: str, columns: Sequence[str], size: int, rows: range | None = None
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield batches of columns, their steps or epochs replaced by marks.

        Args:
            kind: of the rows.
            columns: names.
            size: rows in a batch.
            rows: consecutive ones of the samples, or of the features looked at; all if None.
        """
        marks = np.array(self.marks(kind))
        derives = "position" in columns and "position" not in self._held(kind)
        if derives:
            columns = [*dict.fromkeys([*columns, "sample_id"])]
            columns.remove("position")
        for batch in self._read(kind, columns, size, rows):
            more = {"position": batch["sample_id"] % POSITIONS} if derives else {}
            yield on_marks({**batch, **more}, marks, BY[kind])

    def _read(
        self, kind: str, columns: Sequence[str], size: int, rows: range | None
    ) -> Iterator[Mapping[str, np.ndarray]]:
        if kind == "layers":
            return gram_batches(self.run, self.layers, size)
        if kind == "features":
            return self.features.batches(size, columns, rows)
        held = self.logits if kind == "samples" else self.regions
        if held is not None:
            return held.batches(size, columns, rows)
        return self.run.batches(columns, size, rows, self._stored(kind))

    def _stored(self, kind: str) -> str:
        """What a run calls the kind: of its samples a few classes may have been kept."""
        return self.run.kind if kind == "samples" else kind

    def batch_size(self, kind: str, device: str = "cpu", times: int = 1) -> int:
        """Rows of a kind that a device can look at together; of samples so many times as many."""
        if kind == "layers":
            return LOOK
        if kind == "regions":
            count = count_regions(self.info.scales)
            return max(1, REGION_ENTRIES // (self.info.num_classes * count))
        if kind == "features":
            return max(1, REGION_ENTRIES // sum(self.features.widths.values()))
        entries = times * ENTRIES.get(device, MANY)
        fewest = np.clip(WIDE // self.width, 1, FEWEST)
        return int(np.clip(entries // self.width, fewest, 4096))

    def setting(self, kind: str = "samples", compared: tuple[float, int] | None = None) -> Setting:
        """Return what the analyzers of a kind are made for: one for all of them.

        Args:
            kind: of the rows.
            compared: temperature and k of the losses compared; those of the run's loss if None; of
                kept classes see ``compared_at``.
        """
        if (kind, compared) not in self._settings:
            self._settings[kind, compared] = self._set(kind, compared)
        return self._settings[kind, compared]

    def _set(self, kind: str, compared: tuple[float, int] | None) -> Setting:
        compared = compared_at(self.info, compared) if kind == "samples" else compared
        recorded: dict[str, Any] = {"steps": self.marks(kind), "scales": tuple(self.info.scales)}
        if kind == "samples":
            recorded["ramps"] = self._ramps
        if kind == "regions" and {*TIMED} <= {*self.columns(kind)}:
            recorded["times"] = times_of(self._read(kind, TIMED, LOOK, None))
        if kind == "layers" and self.columns(kind):
            recorded |= {"layers": self.layers.layers, "terms": self.layers.terms}
        if kind == "features" and self.features:
            found = self.features
            recorded |= {"features": found.widths, "counts": found.counts, "rows": len(found.rows)}
        return setting_of(self.info, compared, **recorded)
