"""load_logits: teacher logits, and what stands beside them, from every kind of file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from kdanalysis.store.formats.npy import NpyFile, NpzFile
from kdanalysis.store.formats.parquet import ParquetTable
from kdanalysis.store.formats.run_folder import RunFolder
from kdanalysis.store.formats.safetensors import SafetensorsFile
from kdanalysis.store.formats.table import UNNAMED, Table
from kdanalysis.store.formats.torch_file import TorchFile
from kdanalysis.store.merge import check_rows

OPENERS: dict[str, Callable[[Path], Table]] = {
    ".npz": NpzFile,
    ".npy": NpyFile,
    ".pt": TorchFile,
    ".pth": TorchFile,
    ".safetensors": SafetensorsFile,
    ".parquet": ParquetTable,
}
KEYS = {
    "teacher_logits": ("logits_t", "logits_teacher", "t_logits", "teacher", "logits"),
    "student_logits": ("logits_s", "logits_student", "s_logits", "student"),
    "target": ("targets", "labels", "label", "y"),
    "sample_id": ("sample_ids",),
    "step": (),
    "epoch": (),
}
_FLOATS = ("float16", "float32", "float64", "bfloat16")


class Logits:
    """Columns of logits, read in batches; made by ``load_logits``.

    ``columns`` names what there is: teacher_logits always, student_logits, target, sample_id,
    step and epoch where the file has them. ``classes`` are the class names of a run folder.
    """

    def __init__(self, path: Path, places: dict[str, tuple[Table, str]]) -> None:
        self.path, self._places = path, places
        self.columns = tuple(places)
        self.table = places["teacher_logits"][0]
        self.classes = self.table.classes
        self.num_rows, self.num_classes = self._check_logits("teacher_logits")
        for name in self.columns[1:]:
            self._check(name)

    @property
    def has_student(self) -> bool:
        """Whether there are student logits."""
        return "student_logits" in self.columns

    @property
    def has_target(self) -> bool:
        """Whether there are labels."""
        return "target" in self.columns

    def batches(
        self,
        batch_size: int = 4096,
        columns: Sequence[str] | None = None,
        rows: range | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield dicts of arrays with ``batch_size`` rows, the last one shorter.

        Logits come in their stored dtype (bfloat16 as float32) and keep NaN and inf; the others
        as int64. Memory is bounded by the batch.

        Args:
            batch_size: rows in a batch.
            columns: all of them if not given.
            rows: consecutive rows to read, such as ``range(1000, 2000)``; all if not given.

        Raises:
            ValueError: for a column or a row that is not there, a label outside the classes, a
                damaged file.
        """
        names = self.columns if columns is None else tuple(columns)
        missing = [name for name in names if name not in self.columns]
        if missing or not names or batch_size < 1:
            raise ValueError(
                f"{self.path} has {', '.join(self.columns)}, not {missing}; "
                f"batches need at least one row and one column, got {batch_size}"
            )
        rows = check_rows(rows, self.num_rows)
        parts = [self._of_table(t, names, batch_size, rows) for t in self._tables(names)]
        row = rows.start
        for found in zip(*parts, strict=True):
            joined = {name: values for part in found for name, values in part.items()}
            batch = {name: self._convert(name, joined[name], row) for name in names}
            yield batch
            row += len(batch[names[0]])

    def _tables(self, names: Sequence[str]) -> list[Table]:
        return list(dict.fromkeys(self._places[name][0] for name in names))

    def _of_table(
        self, table: Table, names: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[dict[str, np.ndarray]]:
        keys = {name: self._places[name][1] for name in names if self._places[name][0] is table}
        for batch in table.batches(tuple(dict.fromkeys(keys.values())), batch_size, rows):
            yield {name: batch[key] for name, key in keys.items()}

    def _convert(self, name: str, values: np.ndarray, row: int) -> np.ndarray:
        if name.endswith("_logits"):
            return values.astype(values.dtype.newbyteorder("="), copy=False)
        values = values.astype(np.int64)
        outside = (values < 0) | (values >= self.num_classes)
        if name == "target" and outside.any():
            first = int(np.flatnonzero(outside)[0])
            raise ValueError(
                f"{self.path} has target {values[first]} in row {row + first}, "
                f"need 0 to {self.num_classes - 1}, the {self.num_classes} classes of its logits"
            )
        return values

    def _check_logits(self, name: str) -> tuple[int, int]:
        table, key = self._places[name]
        shape, dtype = table.info(key)
        what = f"{name} of {table.path}"
        if dtype not in _FLOATS:
            raise ValueError(f"{what} are {dtype}, need one of {', '.join(_FLOATS)}")
        if len(shape) != 2 or shape[0] < 1:
            raise ValueError(f"{what} have shape {shape}, need (samples, classes) with samples")
        if shape[1] < 2:
            raise ValueError(f"{what} have {shape[1]} class, need at least 2 to compare classes")
        return shape

    def _check(self, name: str) -> None:
        if name.endswith("_logits"):
            found, need = self._check_logits(name), (self.num_rows, self.num_classes)
        else:
            table, key = self._places[name]
            (found, dtype), need = table.info(key), (self.num_rows,)
            if not dtype.startswith(("int", "uint")):
                raise ValueError(f"{name} of {table.path} is {dtype}, need integers")
        if found != need:
            path = self._places[name][0].path
            raise ValueError(
                f"{name} of {path} has shape {found}, need {need} "
                f"to fit the teacher logits of {self.path}"
            )


def load_logits(
    path: str | Path,
    *,
    student: str | Path | None = None,
    target: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
) -> Logits:
    """Open logits in a run folder, .npz, .npy, .pt, .pth, .safetensors or .parquet.

    Args:
        path: the file; an array without a name, or a single one, is the teacher's logits.
        student: a second file with the student's logits for the same rows.
        target: a file with the labels of the same rows.
        keys: names in the file for our columns, where they are unusual.

    Raises:
        FileNotFoundError: where there is no such file, or a folder is no run folder.
        ValueError: for unknown kinds, missing keys, shapes that do not fit, fewer than two
            classes, damaged or forged files, and files that would run code.
    """
    keys = dict(keys or {})
    path = Path(path).expanduser()
    table = open_table(path)
    places = {name: (table, key) for name in KEYS if (key := _find(table, name, keys)) is not None}
    if "teacher_logits" not in places:
        places = {"teacher_logits": (table, _only(table, places))} | places
    for name, other in (("student_logits", student), ("target", target)):
        if other is not None:
            places[name] = _second(Path(other), name)
    return Logits(path, {name: places[name] for name in KEYS if name in places})


def open_table(path: Path) -> Table:
    """Open any accepted file; nothing of the size of its arrays is allocated."""
    if path.is_dir():
        return RunFolder(path)
    kinds = f"a run folder or one of {', '.join(OPENERS)}"
    if path.suffix.lower() not in OPENERS:
        raise ValueError(f"{path} is of a kind we do not read: need {kinds}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is no file: need {kinds}")
    return OPENERS[path.suffix.lower()](path)


def _find(table: Table, name: str, keys: Mapping[str, str]) -> str | None:
    if unknown := [given for given in keys if given not in KEYS]:
        raise ValueError(f"keys name {unknown}, which is no column: need one of {', '.join(KEYS)}")
    if name in keys:
        if keys[name] not in table.keys:
            raise ValueError(f"{table.path} has no {keys[name]}: it has {_list(table)}")
        return keys[name]
    return next((key for key in (name, *KEYS[name]) if key in table.keys), None)


def _only(table: Table, places: Mapping[str, object]) -> str:
    if len(table.keys) == 1 and not places:
        return table.keys[0]
    names = ", ".join(("teacher_logits", *KEYS["teacher_logits"]))
    raise ValueError(
        f"{table.path} has no teacher logits: it has {_list(table)}, need one of {names}, "
        "or another name through keys={'teacher_logits': ...}"
    )


def _second(path: Path, name: str) -> tuple[Table, str]:
    table = open_table(path)
    other = KEYS["teacher_logits"] + ("teacher_logits",) if name == "student_logits" else ()
    for key in (name, *KEYS[name], UNNAMED, *other):
        if key in table.keys:
            return table, key
    if len(table.keys) == 1:
        return table, table.keys[0]
    raise ValueError(f"{path} has no {name}: it has {_list(table)}")


def _list(table: Table) -> str:
    return ", ".join(sorted(key or "one array without a name" for key in table.keys)) or "nothing"
