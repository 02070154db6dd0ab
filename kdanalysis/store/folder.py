"""Opening a run folder for writing: new, instead of an old run, or after an interrupted one."""

import secrets
import shutil
from pathlib import Path
from typing import Literal, get_args

from kdanalysis.core.wording import differing
from kdanalysis.store.files import (
    is_start,
    make_folder,
    rank_number,
    refuse_link,
    remove_temporary,
    run_folder,
    sync_folder,
)
from kdanalysis.store.info import RUN_JSON, RunInfo, read_info, write_info
from kdanalysis.store.kinds import KINDS
from kdanalysis.store.lock import LOCKS, RankLock

Existing = Literal["error", "overwrite", "resume"]
_TRASH = ".trash-"


def refuse_foreign(root: Path) -> None:
    """Refuse a folder that holds other things than a run, before anything is made in it.

    Raises:
        FileExistsError: where it is a file, or a folder with contents and no run.json.
        ValueError: where its run.json is not one of ours.
    """
    if not root.exists():
        return
    if not root.is_dir():
        raise FileExistsError(f"{root} is a file: a run needs a folder of its own")
    names = [path.name for path in root.iterdir()]
    if (root / RUN_JSON).exists():
        read_info(root)
        return
    ours = {*KINDS, LOCKS, RUN_JSON}  # which another rank may write or replace just now
    if any(n not in ours and not n.startswith((f".{RUN_JSON}", f"..{RUN_JSON}")) for n in names):
        raise FileExistsError(
            f"{root} holds files but no {RUN_JSON}, so it is not a run folder: "
            "choose a new or empty folder, this one is left as it is"
        )


def refuse_existing(root: str | Path, existing: str, rank: int = 0) -> None:
    """Refuse early what ``prepare`` would refuse later, without making anything.

    A run.json stops only rank 0: to the other ranks it may be that of this very launch.

    Raises:
        FileExistsError: where there is a run already and ``existing="error"``, or other files.
        ValueError: for a bad run name, or an ``existing`` that is none of the three.
    """
    if existing not in get_args(Existing):
        raise ValueError(f"existing is one of {get_args(Existing)}, got {existing!r}")
    root = run_folder(root)
    refuse_foreign(root)
    if existing == "error" and rank == 0 and (root / RUN_JSON).exists():
        raise FileExistsError(_already_there(root))


def _already_there(root: Path) -> str:
    return (
        f"{root} already holds a run: choose another folder, or say existing='overwrite' to "
        "replace it or existing='resume' to add to it"
    )


def prepare(root: Path, rank: int, info: RunInfo, existing: Existing) -> None:
    """Make a rank ready under its lock; rank 0 also keeps run.json, which others stand in for.

    Every rank answers for its own folder, without talking to the others.

    Raises:
        FileExistsError: where there is a run already and ``existing="error"``.
        ValueError: where a resumed run differs in its classes, loss, terms or scales.
    """
    has_run = (root / RUN_JSON).exists()
    has_rows = any(_rank_folder(root, kind, rank).exists() for kind in KINDS)
    if existing == "error" and (has_rows or (has_run and rank == 0)):
        raise FileExistsError(_already_there(root))
    if existing == "overwrite":
        _discard(root, rank, has_run, has_rows)
    if existing == "resume" and has_run:
        _refuse_other_run(root, info)
    for kind in KINDS:
        remove_temporary(_rank_folder(root, kind, rank))
    if not has_run or (rank == 0 and existing == "overwrite"):
        write_info(root, info, rank)
    if rank == 0:
        for path in root.glob(f".{RUN_JSON}*"):
            path.unlink()


def start_ids(root: Path) -> list[str]:
    """Start ids of all ranks and kinds."""
    return [path.name for path in root.glob("*/rank-*/*") if is_start(path.name)]


def _rank_folder(root: Path, kind: str, rank: int) -> Path:
    """Where a rank writes rows of a kind; a ValueError where a link would lead elsewhere."""
    folder = root / kind / f"rank-{rank}"
    for path in (folder.parent, folder):
        refuse_link(path)
    return folder


def _refuse_other_run(root: Path, info: RunInfo) -> None:
    old = read_info(root)
    names = ("num_classes", "classes", "loss", "terms", "scales", "kept", "kept_temperatures")
    for name in names:
        before, now = getattr(old, name), getattr(info, name)
        if before != now:
            was, new = differing(before, now)
            raise ValueError(
                f"{root} cannot be resumed: its {name} is {was} and now it is {new}; choose "
                "another folder or existing='overwrite'"
            )


def _discard(root: Path, rank: int, has_run: bool, has_rows: bool) -> None:
    if has_rows and not has_run:
        raise FileExistsError(
            f"{root} has no {RUN_JSON}, so it is not a run folder and nothing in it is deleted: "
            "choose another folder"
        )
    _throw_away(root, rank)
    if rank == 0:
        folders = {path.name for path in root.glob("*/rank-*")}
        for other in sorted({rank_number(name) for name in folders} - {None, 0}):
            _discard_idle(root, other)


def _discard_idle(root: Path, rank: int) -> None:
    """Delete the old rows of another rank; a rank that is being written has deleted its own."""
    try:
        lock = RankLock(root, rank, patience=0.0)
    except BlockingIOError:
        return
    try:
        _throw_away(root, rank)
    finally:
        lock.release()


def _throw_away(root: Path, rank: int) -> None:
    """Rename first: the rows are gone at once, and a death on the way leaves no half run."""
    for kind in KINDS:
        folder = _rank_folder(root, kind, rank)
        if folder.exists():
            folder.replace(folder.with_name(f"{_TRASH}{rank}-{secrets.token_hex(4)}"))
            sync_folder(folder.parent)
        for trash in (root / kind).glob(f"{_TRASH}{rank}-*"):
            shutil.rmtree(trash)


def make_start(root: Path, kind: str, rank: int, start: str) -> Path:
    """Create the folder of this process's parts of one kind."""
    folder = _rank_folder(root, kind, rank) / start
    make_folder(folder)
    return folder
