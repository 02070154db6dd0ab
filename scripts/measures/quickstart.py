"""The quickstart as a user runs it: all of it, its page, and the size of the page."""

import statistics
import tempfile
import time
from pathlib import Path

import torch

from measures.commands import FLOOR, command, python
from measures.timing import seconds

TRAINED = ("teacher.pt", "students/*", "logits/*", "runs/**/*")  # what is there before the page


def quickstart(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Seconds of the quickstart and of its page over those of ``FLOOR``, in turn.

    The page begins when the last file of the training is written, and ends with the process.
    """
    floor, cpu, found = python("-c", FLOOR), torch.device("cpu"), []
    floor()
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as name:
            out = Path(name) / "quickstart"
            run = command("quickstart", "--out", out, "--device", device.type)
            whole = seconds(run, cpu)
            page = time.time() - last_written(out)
            size = (out / "report.html").stat().st_size / 1e6
        found.append((whole, page, size, seconds(floor, cpu)))
    sizes = {"ours_mb": statistics.median(size for *_, size, _ in found)}
    return {
        "whole": over_floor([(whole, plain) for whole, *_, plain in found]),
        "page": over_floor([(page, plain) for _, page, *_, plain in found]),
        "size": sizes,
    }


def last_written(out: Path) -> float:
    """When the last file of the training was written, in seconds since the epoch."""
    files = [path for pattern in TRAINED for path in out.glob(pattern) if path.is_file()]
    return max(path.stat().st_mtime for path in files)


def over_floor(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Medians of both, and of their ratios pair by pair."""
    return {
        "ours_s": statistics.median(ours for ours, _ in pairs),
        "plain_s": statistics.median(plain for _, plain in pairs),
        "ours_over_plain": statistics.median(ours / plain for ours, plain in pairs),
    }
