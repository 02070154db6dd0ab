"""Columns of logits or regions over the same rows, from one file or several."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdanalysis.core.arguments import told_of_one, typed
from kdanalysis.core.vocabulary import what_cuts
from kdanalysis.core.wording import PICKED
from kdanalysis.store.floats import DTYPES
from kdanalysis.store.formats.table import Table
from kdanalysis.store.kinds import Kind
from kdanalysis.store.labels import labels
from kdanalysis.store.merge import check_rows
from kdanalysis.store.reading import reading
from kdanalysis.store.wide import check_wide, labels_and_rest

Place = tuple[Table, str]  # a file, and the name of a column in it


@dataclass
class Padding:
    """Logits beyond the vocabulary: how many a row, and the probability they held at T = 1.

    Args:
        classes: of the column as it is stored.
    """

    classes: int
    rows: int = 0
    mass: float = 0.0  # sum over the rows that hold no NaN

    def off(self, logits: np.ndarray, vocabulary: int) -> np.ndarray:
        """Return the logits of the vocabulary, and count what is cut off."""
        wide = logits.astype(np.float64)
        wide -= wide.max(1, keepdims=True)
        np.exp(wide, out=wide)
        share = wide[:, vocabulary:].sum(1) / wide.sum(1)
        known = share[~np.isnan(share)]
        self.rows, self.mass = self.rows + known.size, self.mass + float(known.sum())
        return logits[:, :vocabulary]

    @property
    def mean(self) -> float:
        """Mean probability of the padding over the rows read so far; NaN before any."""
        return self.mass / self.rows if self.rows else float("nan")


class Columns:
    """Columns over the same rows, read in batches from one file or several.

    The first one, of the teacher, says how many rows and classes there are; the others must fit.

    Args:
        path: what errors call the whole.
        places: where each column is, the teacher's first.
        vocabulary: classes to keep, the first ones; beyond them is padding, of another length on
            each side. What it holds is told by ``cut``.
    """

    kind: Kind
    batch_size: int
    features: tuple[str, ...] = ()  # columns of floats, each of a width of its own

    def __init__(
        self, path: Path, places: Mapping[str, Place], vocabulary: int | None = None
    ) -> None:
        self.path, self._places, self.vocabulary = path, dict(places), vocabulary
        self._padding: dict[str, Padding] = {}
        self.columns = tuple(places)
        self.table = places[self.columns[0]][0]  # of the teacher
        self._axes = self.kind.columns[self.columns[0]].axes
        self.shape = self._check_cells(self.columns[0])
        self.num_rows, self.num_classes = self.shape[:2]
        stored = self._padding[self.columns[0]].classes if self._padding else self.num_classes
        if self.table.classes is not None and len(self.table.classes) != stored:
            told = f"{self.table.path} names {len(self.table.classes)} classes"
            raise ValueError(f"{told}, need a name for each of {stored}")
        for name in self.columns[1:]:
            self._check(name)

    @property
    def classes(self) -> list[str] | None:
        """Class names, where the run folder or the file has them."""
        names = self.table.classes
        return names if names is None else names[: self.num_classes]

    @property
    def cut(self) -> dict[str, "Padding"]:
        """What was cut off, by column: nothing where no vocabulary was given, or all is in it."""
        return dict(self._padding)

    @property
    def skipped(self) -> Sequence[tuple[str, str]]:
        """Parts of a run folder that cannot be read, with the reason; nothing is read again."""
        return self.table.skipped

    @typed
    def batches(
        self,
        batch_size: int | None = None,
        columns: Sequence[str] | None = None,
        rows: range | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield dicts of arrays with ``batch_size`` rows, the last one shorter.

        Logits come in their stored dtype (bfloat16 as float32) and keep NaN and inf; the others
        as int64. Targets over the classes give the label of those over one, -1 of the others, and
        soft_target, NaN in rows without one. Memory is bounded by the batch.

        Args:
            batch_size: rows in a batch; 4096 of logits, 256 of regions if not given.
            columns: all of them if not given.
            rows: consecutive rows to read, such as ``range(1000, 2000)``; all if not given.

        Raises:
            ValueError: for a column or a row that is not there, a label outside the classes, a
                target over the classes that is no distribution, a number beyond int64, a damaged
                file.
        """
        names = self.columns if columns is None else tuple(columns)
        batch_size = self.batch_size if batch_size is None else batch_size
        missing = [name for name in names if name not in self.columns]
        if missing or not names or batch_size < 1:
            raise ValueError(
                f"{self.path} has {', '.join(self.columns)}, not {missing}; "
                f"batches need at least one row and one column, got {batch_size}"
            )
        rows = check_rows(rows, self.num_rows)
        tables = dict.fromkeys(self._places[name][0] for name in names)
        parts = [self._of_table(table, names, batch_size, rows) for table in tables]
        row = rows.start
        for found in zip(*parts, strict=True):
            joined = {name: values for part in found for name, values in part.items()}
            yield {name: self._convert(name, joined[name], row) for name in names}
            row += len(joined[names[0]])
        if row < rows.stop:
            raise ValueError(f"{self.path} is damaged: it ends after {row} rows of {rows.stop}")

    def _of_table(
        self, table: Table, names: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[dict[str, np.ndarray]]:
        keys = {name: self._places[name][1] for name in names if self._places[name][0] is table}
        with reading(table.path):
            for batch in table.batches(tuple(dict.fromkeys(keys.values())), batch_size, rows):
                yield {name: batch[key] for name, key in keys.items()}

    def _convert(self, name: str, values: np.ndarray, row: int) -> np.ndarray:
        if values.ndim == 2 and name in ("target", "soft_target"):
            some = self._places[name] != self._places["target"]  # a run's
            found, soft = labels_and_rest(values, self.num_classes, some, self.path, row)
            return found if name == "target" else np.ascontiguousarray(soft)
        if name in self._padding:
            values = self._padding[name].off(values, self.num_classes)
        if name in (*self.kind.cells, *self.features):
            return values.astype(values.dtype.newbyteorder("="), copy=False)
        whole = values.astype(np.int64)
        if name == "target":
            whole, wrong = labels(whole, self.num_classes)
            noun = self.columns[0].split("_")[1]
            need = f"0 to {self.num_classes - 1}, the {self.num_classes} classes of its {noun}"
            need += told_of_one(values.min(), values.max(), self.num_classes)
        else:
            wrong, need = whole != values, "a number that int64 holds"  # of uint64
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"{self.path} has {name} {values[first]} in row {row + first}, need {need}"
            )
        return whole

    @typed
    def width(self, name: str) -> int:
        """Return how many features a row has in a column of them.

        Raises:
            ValueError: there is no such column, or it is none of features.
        """
        if name not in self._places or name not in self.features:
            there = ", ".join(n for n in self.features if n in self._places) or "none"
            raise ValueError(f"{self.path} has no features {name!r}; it has: {there}")
        return self._check_floats(name, ("features",))[0][1]

    def _check_floats(self, name: str, axes: tuple[str, ...]) -> tuple[tuple[int, ...], str]:
        """Return the shape of a column and what errors call it."""
        table, key = self._places[name]
        with reading(table.path):
            shape, dtype = table.info(key)
        what, need = f"{name} of {table.path}", ", ".join(("samples", *axes))
        if dtype not in DTYPES:
            raise ValueError(f"{what} are {dtype}, need one of {', '.join(DTYPES)}")
        if len(shape) == 3 and axes == ("classes",):
            raise ValueError(f"{what} have shape {shape}, need ({need}): {PICKED}")
        if len(shape) != 1 + len(axes) or shape[0] < 1:
            raise ValueError(f"{what} have shape {shape}, need ({need}) with samples")
        return tuple(shape), what

    def _check_cells(self, name: str) -> tuple[int, ...]:
        shape, what = self._check_floats(name, self._axes)
        if shape[1] < 2:
            raise ValueError(f"{what} have {shape[1]} class, need at least 2 to compare classes")
        return self._without_padding(name, shape, what)

    def _without_padding(self, name: str, shape: tuple[int, ...], what: str) -> tuple[int, ...]:
        if self.vocabulary is None or shape[1] == self.vocabulary:
            return shape
        if not 2 <= self.vocabulary < shape[1]:
            raise ValueError(
                f"{what} have {shape[1]} classes: vocabulary={self.vocabulary} cannot be cut from "
                "them, need 2 to that many"
            )
        self._padding[name] = Padding(shape[1])
        return shape[0], self.vocabulary, *shape[2:]

    def _check(self, name: str) -> None:
        table, key = self._places[name]
        with reading(table.path):
            wide = name == "target" and len(table.info(key).shape) == 2
            if "soft_target" in self.kind.columns and (wide or name == "soft_target"):
                cut, what = self.vocabulary is not None, f"{name} of {table.path}"
                return check_wide(table.info(key), what, self.shape[:2], cut, self.path)
        if name in self.kind.cells:
            found, need = self._check_cells(name), self.shape
        elif name in self.features:
            found = self._check_floats(name, ("features",))[0]
            need = (self.num_rows, *found[1:])
            if found[1] < 2:
                raise ValueError(f"{name} of {table.path} have shape {found}: need two features")
        else:
            with reading(table.path):
                (found, dtype), need = table.info(key), (self.num_rows,)
            if not dtype.startswith(("int", "uint")):
                what = ": the numbers of the classes, from 0" if name == "target" else ""
                raise ValueError(f"{name} of {table.path} is {dtype}, need integers{what}")
        if tuple(found) != need:
            alike = len(found) == len(need) > 1
            padded = alike and found[:1] + found[2:] == need[:1] + need[2:]
            hint = f"; {what_cuts(self.path, min(found[1], need[1]))}" if padded else ""
            raise ValueError(
                f"{name} of {table.path} has shape {tuple(found)}, need {need} "
                f"to fit the {self.columns[0].replace('_', ' ')} of {self.path}{hint}"
            )
