"""Peak memory of ``sweep``, ``diagnose`` and ``truncation`` on many times the samples."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

SIZES = {  # samples of both files, and their classes
    "diagnose": (100_000, 1_000_000, 100),
    "sweep": (100_000, 1_000_000, 100),
    "truncation": (1024, 4096, 32_000),
}
PART = 10_000_000  # numbers written together


def memory(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Peak resident memory of the commands on 1 000 000 x 100 over that on 100 000 x 100.

    Of ``truncation`` on 4096 x 32 000 over 1024 x 32 000. Each command is a process of its own, on
    a file of float32 logits; one run each.
    """
    results = {}
    for command, (small, large, classes) in SIZES.items():
        peaks = {}
        for rows in (small, large):
            with tempfile.TemporaryDirectory() as folder:
                peaks[rows] = peak(command, write(Path(folder), rows, classes), device)
        results[command] = {
            **{f"{rows}_mb": megabytes for rows, megabytes in peaks.items()},
            "large_over_small": peaks[large] / peaks[small],
        }
    return results


def write(folder: Path, rows: int, classes: int) -> Path:
    """Write a file of teacher and student logits, a part at a time."""
    rng, path = np.random.default_rng(0), folder / f"{rows}.npz"
    columns = {name: folder / f"{name}.npy" for name in ("teacher_logits", "student_logits")}
    part = PART // classes
    for column in columns.values():
        array = np.lib.format.open_memmap(column, "w+", np.float32, (rows, classes))
        for start in range(0, rows, part):
            some = array[start : start + part]
            some[:] = 3 * rng.standard_normal(some.shape, np.float32)
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
