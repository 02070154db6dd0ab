"""Peak memory of ``sweep`` and ``diagnose`` on ten times the samples."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

SMALL, LARGE, CLASSES = 100_000, 1_000_000, 100


def memory(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Peak resident memory of the commands on 1 000 000 x 100 over that on 100 000 x 100.

    Each command is a process of its own, on a file of float32 logits; one run each.
    """
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {rows: write(Path(folder), rows) for rows in (SMALL, LARGE)}
        for command in ("diagnose", "sweep"):
            peaks = {rows: peak(command, file, device) for rows, file in files.items()}
            results[command] = {
                **{f"{rows}_mb": megabytes for rows, megabytes in peaks.items()},
                "large_over_small": peaks[LARGE] / peaks[SMALL],
            }
    return results


def write(folder: Path, rows: int) -> Path:
    """Write a file of teacher and student logits, a part at a time."""
    rng, path = np.random.default_rng(0), folder / f"{rows}.npz"
    shape = (rows, CLASSES)
    columns = {name: folder / f"{name}.npy" for name in ("teacher_logits", "student_logits")}
    for column in columns.values():
        array = np.lib.format.open_memmap(column, "w+", np.float32, shape)
        for start in range(0, rows, SMALL):
            array[start : start + SMALL] = 3 * rng.standard_normal((SMALL, CLASSES), np.float32)
        array.flush()
    np.savez(path, **{name: np.load(file, mmap_mode="r") for name, file in columns.items()})
    return path


def peak(command: str, file: Path, device: torch.device) -> float:
    """Return the peak resident memory, in MB, of one process of the command."""
    call = ["-m", "kdanalysis", command, str(file), "--device", device.type]
    code = (
        "import resource, subprocess, sys; "
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *call], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
