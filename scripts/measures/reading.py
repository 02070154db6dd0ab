"""How fast a run is checked, read and summed up, against the disk."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import kdanalysis as kd
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

ROWS, CLASSES, BATCH = 256_000, 1000, 256  # a gigabyte of both sides' logits in float16
SHARE, ENOUGH = 0.8, 500  # of the disk's speed; MB/s


def reading(device: torch.device, repetitions: int) -> dict[str, dict]:
    """MB/s from opening a run to its last batch, and to a table, with one thread.

    ``plain_mb_per_s`` is what is to be reached: 80 % of the speed at which the same files are
    read into memory and forgotten, or 500 MB/s where that is less. Before each reading the system
    is asked to forget what it holds of the files.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "run"
            write(path)
            files = [file for file in path.rglob("*.parquet")]
            megabytes = sum(file.stat().st_size for file in files) / 1e6
            calls = {"disk": lambda: read_plainly(files), "batches": lambda: read(path)}
            calls["table agreement"] = lambda: kd.open_run(path).table("agreement")
            speeds = {
                name: [megabytes / cold(files, call) for _ in range(repetitions)]
                for name, call in calls.items()
            }
    finally:
        torch.set_num_threads(threads)
    disk = statistics.median(speeds.pop("disk"))
    return {name: held(statistics.median(found), disk) for name, found in speeds.items()}


def held(speed: float, disk: float) -> dict[str, float]:
    """A speed beside what is to be reached."""
    need = min(SHARE * disk, ENOUGH)
    return {
        "ours_mb_per_s": speed,
        "plain_mb_per_s": need,
        "ours_over_plain": speed / need,
        "disk_mb_per_s": disk,
    }


def write(path: Path) -> None:
    """Write logits, each batch other rows of the same numbers."""
    logits = 3 * np.random.default_rng(0).standard_normal((2, BATCH, CLASSES), np.float32)
    teacher, student = logits.astype(np.float16)
    with PartWriter(path, 0, RunInfo(CLASSES)) as writer:
        for step in range(ROWS // BATCH):
            ids = np.arange(BATCH)
            columns = {"step": ids * 0 + step, "epoch": ids * 0, "sample_id": step * BATCH + ids}
            sides = {"teacher_logits": teacher, "student_logits": np.roll(student, step, 0)}
            writer.write(columns | {"target": ids % CLASSES} | sides)


def read(path: Path) -> None:
    """Check every part and take every batch."""
    for _ in kd.open_run(path).batches():
        pass


def read_plainly(files: list[Path]) -> None:
    """Read files from end to end."""
    buffer = bytearray(1 << 20)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def cold(files: list[Path], call: Callable[[], object]) -> float:
    """Return the seconds of a call on files that the system has forgotten, where it can."""
    if hasattr(os, "posix_fadvise"):
        for path in files:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
