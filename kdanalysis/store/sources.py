"""load_logits and load_regions: columns of logits from every kind of file."""

from collections.abc import Callable, Mapping
from pathlib import Path

from kdanalysis.core.arguments import typed
from kdanalysis.store.columns import Columns, Place
from kdanalysis.store.formats.npy import NpyFile, NpzFile
from kdanalysis.store.formats.parquet import ParquetTable
from kdanalysis.store.formats.safetensors import SafetensorsFile
from kdanalysis.store.formats.sparse_arrays import likely
from kdanalysis.store.formats.table import UNNAMED, RunFolder, Table
from kdanalysis.store.formats.torch_file import TorchFile
from kdanalysis.store.joining import joined
from kdanalysis.store.kinds import KINDS
from kdanalysis.store.reading import listed, reading

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
    "soft_target": ("soft_targets", "soft_labels"),
    "sample_id": ("sample_ids",),
    "position": ("positions",),
    "token_class": ("token_classes",),
    **dict.fromkeys(("step", "epoch", "teacher_features", "student_features"), ()),
}
REGIONS = ("teacher_regions", "student_regions", "target", "sample_id")


class Logits(Columns):
    """Columns of logits, read in batches; made by ``load_logits``.

    ``columns`` names what there is: teacher_logits always, student_logits, target, sample_id,
    position (in a text), token_class, step and epoch where the file has them; so teacher_features
    and student_features (n, d), the pooled features before a network's head, d of either side its
    own. ``classes`` are the class names, where the run or the file has them (texts, in .npz and
    .pt). A target of -1, which also -100 and 255 become, says that a row has no label. Targets
    (n, c) that are distributions are soft_target too, and labels where they are over one class.
    ``order`` says how the rows of several files were brought together; it is empty for one file.
    """

    kind, batch_size = KINDS["samples"], 4096
    features = ("teacher_features", "student_features")
    order = ""

    def __init__(
        self, path: Path, places: Mapping[str, Place], vocabulary: int | None = None
    ) -> None:
        places = {**places}
        if "soft_target" in places:
            places.setdefault("target", places["soft_target"])
        elif "target" in places and _is_wide(*places["target"]):
            places["soft_target"] = places["target"]
        ordered = {name: places[name] for name in (*KEYS, *places) if name in places}
        super().__init__(path, ordered, vocabulary)

    @property
    def has_student(self) -> bool:
        """Whether there are student logits."""
        return "student_logits" in self.columns

    @property
    def has_target(self) -> bool:
        """Whether there are labels."""
        return "target" in self.columns


def _is_wide(table: Table, key: str) -> bool:
    with reading(table.path):
        return len(table.info(key).shape) == 2


class Regions(Columns):
    """Columns of region logits, read in batches; made by ``load_regions``.

    ``columns`` names what there is: teacher_regions and target always, student_regions and
    sample_id where the file has them.
    """

    kind, batch_size = KINDS["regions"], 256

    def __init__(self, table: Table) -> None:
        for name in ("teacher_regions", "target"):
            if name not in table.keys:
                raise ValueError(
                    f"{table.path} has no {name}: regions are teacher_regions (n, c, r), target "
                    f"and, where there is one, student_regions"
                )
        super().__init__(table.path, {n: (table, n) for n in REGIONS if n in table.keys})

    @property
    def num_regions(self) -> int:
        """Regions of a sample, over all scales."""
        return self.shape[2]


@typed
def load_logits(
    path: str | Path,
    *,
    student: str | Path | None = None,
    target: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    vocabulary: int | None = None,
) -> Logits:
    """Open logits in a run folder, .npz, .npy, .pt, .pth, .safetensors or .parquet.

    Args:
        path: the file; an array without a name, or a single one, is the teacher's logits.
        student: a second file with the student's logits for the same rows. Where both files have
            sample_id, rows are joined by it; otherwise they are taken in their order.
        target: a file with the labels of the same rows, joined likewise.
        keys: names in the files for our columns, where they are unusual.
        vocabulary: classes to keep of either side, the first ones, where vocabularies are padded
            to other lengths; ``cut`` tells what the padding held.

    Raises:
        FileNotFoundError: where there is no such file, or a folder is no run folder.
        ValueError: for unknown kinds, missing keys, ids that one file has and the other lacks,
            shapes that do not fit, fewer than two classes, damaged or forged files, and files
            that would run code.
    """
    keys = dict(keys or {})
    path = Path(path).expanduser()
    table = open_table(path)
    apart = {"student_logits": student, "target": target}
    own = {name: keys.pop(name, None) for name, other in apart.items() if other is not None}
    there = {name: _find(table, name, keys, name in own) for name in KEYS}
    places = {name: (table, key) for name, key in there.items() if key is not None}
    if "teacher_logits" not in places:
        places = {"teacher_logits": (table, _only(table, places))} | places
    orders = []
    for name, other in apart.items():
        if other is not None:
            second, key = _second(Path(other).expanduser(), name, own[name])
            second, order = joined(places.get("sample_id"), second, _find(second, "sample_id", {}))
            places[name] = second, key
            orders.append(order)
    logits = Logits(path, {name: places[name] for name in KEYS if name in places}, vocabulary)
    logits.order = "; ".join(orders)
    return logits


def load_side(
    path: str | Path, name: str, vocabulary: int | None = None, key: str | None = None
) -> Logits:
    """Open the logits of one side that stand in a file alone; its column is teacher_logits.

    Args:
        path: the file.
        name: "student_logits" or "teacher_logits": which one, where the file has both.
        vocabulary: classes to keep, fewer or as many as the file has.
        key: what it is called in the file, where that is unusual.

    Raises:
        FileNotFoundError, ValueError: as ``load_logits``.
    """
    path = Path(path).expanduser()
    try:
        return Logits(path, {"teacher_logits": _second(path, name, key)}, vocabulary)
    except ValueError as error:
        raise ValueError(str(error).replace("teacher_logits of", f"{name} of", 1)) from error


@typed
def load_regions(path: str | Path) -> Regions:
    """Open region logits in a run folder, .npz, .pt, .safetensors or .parquet.

    Args:
        path: a run with regions, or a file with teacher_regions (n, c, r), target (n,) and, where
            there is a student, student_regions: what ``read_regions`` yields.

    Raises:
        FileNotFoundError: where there is no such file, or a folder is no run folder.
        ValueError: for unknown kinds, missing columns, shapes that do not fit, damaged or forged
            files, and files that would run code.
    """
    return Regions(open_table(Path(path).expanduser(), "regions"))


def open_table(path: Path, kind: str = "samples") -> Table:
    """Open any accepted file, or one kind of rows in a run; nothing of their size is allocated."""
    if path.is_dir():
        with reading(path):
            return RunFolder(path, kind)
    kinds = f"a run folder or one of {', '.join(OPENERS)}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is no file: need {kinds}")
    if path.suffix.lower() not in OPENERS:
        raise ValueError(f"{path} is of a kind we do not read: need {kinds}")
    with reading(path):
        return OPENERS[path.suffix.lower()](path)


def _find(table: Table, name: str, keys: Mapping[str, str], elsewhere: bool = False) -> str | None:
    """Return what a column is called; None where there is none, or lists that are ``elsewhere``."""
    if unknown := [given for given in keys if given not in KEYS]:
        raise ValueError(
            f"keys= names {unknown}, which is no column: need one of " + ", ".join(KEYS)
        )
    if name in keys:
        if keys[name] not in table.keys:
            raise ValueError(f"{table.path} has no {listed([keys[name]])}: it has {table.held}")
        return keys[name]
    found = next((key for key in (name, *KEYS[name]) if key in table.keys), None)
    if found is None and KEYS[name] and not elsewhere:
        table.refuse_lists((name, *KEYS[name]))
    return found


def _only(table: Table, places: Mapping[str, object]) -> str:
    if len(table.keys) == 1 and not places and table.info(table.keys[0]).shape:
        return table.keys[0]
    names, sparse = ", ".join(("teacher_logits", *KEYS["teacher_logits"])), likely(table)
    raise ValueError(
        f"{table.path} has no teacher logits: it has {table.held}, need one of {names}, or say "
        f"with keys= which it is: teacher_logits=NAME{f', or {sparse}' if sparse else ''}"
    )


def _second(path: Path, name: str, key: str | None = None) -> tuple[Table, str]:
    table = open_table(path)
    if key is not None:
        return table, _find(table, name, {name: key})
    either = (UNNAMED, "logits") if name == "student_logits" else (UNNAMED,)
    for key in (name, *KEYS[name], *either):
        if key in table.keys:
            return table, key
    others = {one for side in ("teacher_logits", "student_logits") for one in (side, *KEYS[side])}
    if len(table.keys) == 1 and table.keys[0] not in others - {name, *KEYS[name]}:
        return table, table.keys[0]
    names = ", ".join((name, *KEYS[name], *filter(None, either)))
    raise ValueError(
        f"{path} has no {name.replace('_', ' ')}: it has {table.held}, need one of {names}, or "
        f"say by keys which it is, {name}=NAME"
    )
