"""What users name, opened as a Source: paths, what was opened already, or arrays."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdanalysis.core.arguments import typed
from kdanalysis.store.formats.table import CLASSES, RunFolder
from kdanalysis.store.run import StoredRun
from kdanalysis.store.sources import KEYS, REGIONS, Logits, Regions, load_logits, load_regions
from kdanalysis.store.sparse import holds_sparse
from kdanalysis.studies.arrays import Arrays
from kdanalysis.studies.kept import lacks
from kdanalysis.studies.source import MOST, Source

# A path, what was opened already, or arrays by the names of their columns.
Given = str | Path | Mapping[str, Any] | Logits | StoredRun | Source
BY_NAME = "; arrays go by name, as {'teacher_logits': logits, 'target': labels}"  # advice


def open_logits(
    path: Any, keys: Mapping[str, str] | None = None, vocabulary: int | None = None
) -> Logits:
    """Open a file of logits, a run folder, or arrays by the names of their columns.

    ``keys`` are names in the file for our columns, ``vocabulary`` how many classes to keep.

    Raises:
        ValueError: as ``load_logits``, or arrays without teacher_logits.
    """
    if not isinstance(path, Mapping):
        return _dense(path, keys, vocabulary)
    table = _arrays(path, KEYS)
    return Logits(table.path, {name: (table, name) for name in KEYS if name in path}, vocabulary)


def _dense(path: Any, keys: Mapping[str, str] | None, vocabulary: int | None) -> Logits:
    """Open a file; a ValueError that says so where it holds a truncated teacher."""
    try:
        return load_logits(path, keys=keys, vocabulary=vocabulary)
    except ValueError as error:
        if not holds_sparse(path):
            raise
        raise ValueError(
            f"{path} holds a few tokens a row of a truncated teacher, and the logits of all "
            "classes are needed here: kdanalysis diagnose says what the tokens say, and kdanalysis "
            "truncation --student FILE what they lose"
        ) from error


def open_regions(path: Any) -> Regions:
    """Open a file of region logits, or arrays by the names of their columns.

    Raises:
        ValueError: as ``load_regions``, or arrays without teacher_regions.
    """
    return Regions(_arrays(path, REGIONS)) if isinstance(path, Mapping) else load_regions(path)


def _arrays(arrays: Mapping[str, Any], known: Iterable[str]) -> Arrays:
    """Return them as a file; a ValueError where the first is missing, or one is unknown."""
    known = [*known, CLASSES]
    there = ", ".join(known)
    if known[0] not in arrays:
        given = ", ".join(map(str, arrays)) or "nothing"
        raise ValueError(f"need {known[0]} among arrays of {there}; got {given}")
    if strange := [str(name) for name in arrays if name not in known]:
        raise ValueError(f"arrays named {', '.join(strange)} mean nothing here: known are {there}")
    return Arrays(arrays)


@typed
def open_source(
    path: Given,
    name: str = "",
    most_steps: int = MOST["samples"],
    student: bool = False,
    keys: Mapping[str, str] | None = None,
    vocabulary: int | None = None,
    kept: bool = False,
) -> Source:
    """Open a run folder, a file of logits, or arrays by name.

    Args:
        path: a path, what ``load_logits`` or ``open_run`` returned, or arrays (or tensors) by the
            names of their columns: teacher_logits, student_logits, target; ``classes`` are names.
        name: for readers; of the file if not given.
        most_steps: captured steps beyond this number are put together.
        student: whether student logits are needed.
        keys: names in a file for our columns, where they are unusual.
        vocabulary: classes to keep, where both sides are padded to other lengths.
        kept: whether the path of a run that keeps a few classes of every row will do.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: a file cannot be read, or holds no student where one is needed.
    """
    if isinstance(path, Source):
        return path
    if isinstance(path, str | Path) and (run := _kept_run(Path(path).expanduser())) is not None:
        if not kept:
            raise ValueError(lacks(run.info, path, "this command"))
        if vocabulary is not None:
            raise ValueError(f"{path} keeps sums over the other classes: no vocabulary can be cut")
        path = run
    if isinstance(path, StoredRun):
        logits, run = None, path
    else:
        logits = path if isinstance(path, Logits) else open_logits(path, keys, vocabulary)
        run = logits.table.run if isinstance(logits.table, RunFolder) else None
    called = name or Path((logits or run).path).resolve().name
    source = Source(called, logits, run, most_steps=most_steps)
    if student and not source.kept and "student_logits" not in source.columns():
        raise ValueError(
            f"{where(source) if name else source.path} holds teacher logits alone: the losses' "
            f"gradients are in the student's logits, so student_logits are needed beside them"
        )
    return source


def open_sources(
    paths: Iterable[Any],
    most_steps: int,
    keys: Mapping[str, str] | None = None,
    vocabulary: int | None = None,
) -> dict[str, Source]:
    """Open every path under a short name, to compare the students in them.

    Args:
        paths: run folders and files of logits, or what was opened of them; or by names of your own.
        most_steps: captured steps beyond this number are put together.
        keys: names in the files for our columns, where they are unusual.
        vocabulary: classes to keep, where they are padded to other lengths.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: a path is given twice, a file cannot be read, holds no student, or has another
            number of classes than the first.
    """
    named = paths if isinstance(paths, Mapping) else _by_name(list(paths))
    sources = {
        name: open_source(path, name, most_steps, True, keys, vocabulary, kept=True)
        for name, path in named.items()
    }
    check_classes(sources.values())
    return sources


def check_classes(sources: Iterable[Source]) -> None:
    """Raise a ValueError where sources have other numbers of classes than the first."""
    first, *others = sources
    for other in others:
        if other.info.num_classes != first.info.num_classes:
            raise ValueError(
                f"{where(first)} has {first.info.num_classes} classes and {where(other)} has "
                f"{other.info.num_classes}: only logits over the same classes can be compared"
            )


def _by_name(given: list[Any]) -> dict[str, Any]:
    return dict(zip(short_names(getattr(one, "path", one) for one in given), given, strict=True))


def short_names(paths: Iterable[Path]) -> dict[str, Path]:
    """Name runs by their folder and files by their name without its suffix.

    Where two would be called alike, a file has its suffix; where that does not tell them apart,
    they are called by their whole paths.

    Raises:
        ValueError: one of them is given twice.
    """
    paths = [Path(path).expanduser() for path in paths]
    whole = [path.resolve() for path in paths]
    if twice := [path for path in paths if whole.count(path.resolve()) > 1]:
        raise ValueError(f"{twice[0]} is given twice: every run or file must be another one")
    bare = [path.stem if path.is_file() else path.name for path in whole]
    full = [path.name for path in whole]
    named = {}
    for given, *names in zip(paths, bare, full, strict=True):
        alone = [name for name, all_of in zip(names, (bare, full), strict=True)
                 if all_of.count(name) == 1]  # fmt: skip
        named[(alone or [str(given)])[0]] = given
    return named


def where(source: Source) -> str:
    """The name of a source in errors: the path of a file that is called by its name."""
    path = Path(source.path)
    return str(path) if path.stem == source.name != path.name else source.name


def _kept_run(path: Path) -> StoredRun | None:
    """Return a run of which a few classes of every row were kept; None where it is none."""
    run = StoredRun(path) if path.is_dir() else None
    return run if run is not None and run.kind == "tokens" else None
