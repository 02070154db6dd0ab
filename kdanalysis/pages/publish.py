"""Output that is there whole or not at all: built under another name, renamed when complete."""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path

import filelock

from kdanalysis.core.disk import naming
from kdanalysis.core.ranks import RANKS

CARD = ("report.html", "tables", "figures")  # what diagnose writes
KINDS = ("svg", "png", "pdf")  # of the files of figures
LEFTOVERS = (f".{CARD[0]}.", ".teacher.pt.")
_LOCK, _NEW, _OLD = "lock", "new", "old"


def figure_kinds(given: str | Iterable[str]) -> tuple[str, ...]:
    """Read ``svg,png`` or such names, each once; nothing for no files of figures.

    Raises:
        ValueError: another kind.
    """
    names = given.split(",") if isinstance(given, str) else given
    kinds = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if others := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"figures cannot be written as {others[0]!r}: need {', '.join(KINDS)}")
    return kinds


@contextmanager
def card_folder(
    path: Path | None, overwrite: bool = False, figures: str = ""
) -> Iterator[Path | None]:
    """Give the folder for a page with its tables and figures, and say so when it is written.

    None where no folder is asked for, and in the ranks that do not write.

    Raises:
        FileExistsError: as ``output_folder``.
        ValueError: figures are to be written, and there is no folder.
    """
    if path is None and figures:
        raise ValueError(f"--figures {figures} has no folder to write them to: give --out too")
    if path is None or not RANKS.first:
        yield None
        return
    with output_folder(path, overwrite) as folder:
        yield folder
    print(f"wrote {path}: {', '.join(name for name in CARD if (path / name).exists())}")


@contextmanager
def output_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the name ``path`` when the block succeeds.

    After an error or Ctrl-C nothing is left of it. An empty folder may exist at ``path``. What came
    there meanwhile, as from the same command that runs twice, is refused as what was there before.

    Raises:
        FileExistsError: ``path`` is in use, and is not to be or must not be replaced.
    """
    path = path.expanduser().resolve()
    with place_beside(path) as place:
        with _alone_in(path.parent):
            check_folder(path, overwrite, CARD, "report.html")
        building = place / _NEW
        building.mkdir()
        yield building
        with _alone_in(path.parent):
            check_folder(path, overwrite, CARD, "report.html")
            replace_folder(building, path)


def check_folder(path: Path, overwrite: bool, ours: Collection[str], mark: str) -> None:
    """Refuse what would be lost: anything without --overwrite, and what the command did not write.

    Args:
        path: the folder.
        overwrite: whether a folder that the command wrote may be replaced.
        ours: names that the command writes; what it left when it was interrupted comes beside.
        mark: the one by which such a folder is known.

    Raises:
        FileExistsError: the folder holds something that must stay.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not path.is_dir():
        raise FileExistsError(f"{path} is a file: give a folder that does not exist yet")
    found = {entry.name for entry in path.iterdir()}
    others = sorted(name for name in found - set(ours) if not name.startswith(LEFTOVERS))
    own = mark in found and not others
    if not overwrite:
        instead = ", or overwrite=True to replace it" if own else " that is new or empty"
        raise FileExistsError(f"{path} exists already: give another folder{instead}")
    if not own:
        what = f"it holds {others[0]!r}" if others else f"it has no {mark}"
        raise FileExistsError(
            f"{path} was not written by this command alone ({what}), so overwrite=True does not "
            "replace it"
        )


def replace_folder(building: Path, path: Path) -> None:
    """Rename into place; the old folder goes beside the building, and back where that fails."""
    old = building.with_name(_OLD)
    try:
        if path.exists():
            path.rename(old)
        building.rename(path)
    except BaseException:
        _restore(old, path)
        raise


@contextmanager
def output_file(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give the name of a file to write; it becomes ``path`` when the block succeeds.

    Raises:
        FileExistsError: ``path`` exists and is not to be replaced, or is a folder.
    """
    path = path.expanduser().resolve()
    _check_file(path, overwrite)
    with place_beside(path) as place:
        (place / _NEW).mkdir()
        file = place / _NEW / path.name
        yield file
        with _alone_in(path.parent):
            _check_file(path, overwrite)
            file.replace(path)


def _check_file(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder: give the name of a file")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already: give another name, or overwrite=True to replace it"
        )


@contextmanager
def figures_beside(page: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder for the figures of a page that is one file: ``NAME-figures`` beside it.

    Raises:
        FileExistsError: it is in use, and not to be replaced, or holds more than figures.
    """
    path = page.expanduser().resolve().with_name(f"{page.stem}-figures")
    held = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    pictures = [name for name in held if name.endswith(KINDS)]
    check_folder(path, overwrite, pictures, next(iter(pictures), "figure"))
    with place_beside(path) as place:
        (place / _NEW).mkdir()
        yield place / _NEW
        with _alone_in(path.parent):
            check_folder(path, overwrite, pictures, next(iter(pictures), "figure"))
            replace_folder(place / _NEW, path)


@contextmanager
def place_beside(path: Path) -> Iterator[Path]:
    """Give a hidden folder on the same disk as ``path``, gone afterwards.

    One that a killed process left is taken away first: nobody holds the lock that lies in it.
    Folders above that were not there are made, and go where nothing came into them.

    Raises:
        OSError: nothing can be written there, or the disk is full, which names ``path``.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.callback(_leave, made)
            with _alone_in(path.parent):  # whose lock is not held yet is no leftover
                for left in path.parent.glob(f".{escape(path.name)}.????????.tmp"):
                    _take_away(left, path)
                named = {"prefix": f".{path.name}.", "suffix": ".tmp"}
                place = Path(tempfile.mkdtemp(**named, dir=path.parent))
                stack.callback(shutil.rmtree, place, ignore_errors=True)
                stack.enter_context(filelock.FileLock(place / _LOCK, timeout=0))
        except OSError as error:
            above = next(folder for folder in path.parents if folder.exists())
            why = error.strerror if above.is_dir() else "it is a file"
            raise type(error)(f"{path} cannot be made in {above}: {why}") from error
        stack.enter_context(naming(path))
        yield place


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let no other of our processes come or go in a folder, where the system can lock one."""
    handle = None
    try:
        with suppress(ImportError, OSError):  # Windows, or a disk that knows no such locks
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _leave(made: Iterable[Path]) -> None:
    """Take away folders that were made; what is not empty stays."""
    with suppress(OSError):
        for folder in made:
            folder.rmdir()


def _take_away(left: Path, path: Path) -> None:
    if left.is_symlink() or not left.is_dir():
        return
    with suppress(filelock.Timeout, OSError):
        with filelock.FileLock(left / _LOCK, timeout=0):
            _restore(left / _OLD, path)
        shutil.rmtree(left)


def _restore(old: Path, path: Path) -> None:
    """Give an old folder its name again where nothing has it."""
    if old.exists() and not path.exists():
        old.rename(path)
