"""Whole commands, each a process of its own, against the imports that the heaviest needs anyway."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from measures.timing import alternate

LOGITS = Path(__file__).parents[2] / "notebooks" / "logits"
FLOOR = "import torch, pandas, matplotlib.figure"
UNWRITTEN = "PYTHONDONTWRITEBYTECODE"  # where it is set, every process compiles all it imports
COMPILED = {name: value for name, value in os.environ.items() if name != UNWRITTEN}
TRAINED = (  # two small runs, as a user would capture them
    *("--data", "glyphs", "--image-size", "16", "--limit", "1000", "--epochs", "2"),
    *("--teacher", "resnet8", "--student", "resnet8", "--loss", "kd", "--loss", "gdkd"),
    *("--record-every", "3", "--record-layers", "logits,fc"),
)


def commands(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Seconds of commands over those of ``FLOOR``; of ``--help`` over those of an empty program.

    The logits are of real images, 1000 x 100; the two runs are of two epochs of drawn letters.
    """
    where = ("--device", device.type)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command("train", *TRAINED, "--out", folder / "trained", *where)()
        kd, gdkd = (folder / "trained" / "runs" / loss for loss in ("kd", "gdkd"))
        calls = {
            "table": ("table", gdkd, "magnitude"),
            "diagnose": ("diagnose", LOGITS / "gdkd.npz", *written(folder / "card")),
            "sweep": ("sweep", LOGITS / "gdkd.npz", *written(folder / "sweep")),
            "compare losses": (
                *("compare", LOGITS / "gdkd.npz", "--losses", "kd,dkd,gdkd"),
                *written(folder / "losses"),
            ),
            "compare students": (
                *("compare", LOGITS / "kd.npz", LOGITS / "gdkd.npz"),
                *written(folder / "students"),
            ),
            "report of two runs": ("report", kd, gdkd, *written(folder / "report.html")),
        }
        results = {"--help": timed(command("--help"), python("-c", "pass"), repetitions)}
        for row, call in calls.items():
            results[row] = timed(command(*call, *where), python("-c", FLOOR), repetitions)
    return results


def written(path: Path) -> tuple[object, ...]:
    """Options that write into a place, again and again."""
    return "--out", path, "--overwrite"


def timed(ours: Callable, plain: Callable, repetitions: int) -> dict[str, float]:
    """Time two processes in turn; in seconds, and the ratio."""
    times = alternate(ours, plain, torch.device("cpu"), repetitions)
    found = {f"{side}_s": times[f"{side}_ms"] / 1e3 for side in ("ours", "plain")}
    return found | {"ours_over_plain": times["ours_over_plain"]}


def command(*arguments: object) -> Callable[[], None]:
    """Return what runs ``kdanalysis`` with these arguments."""
    return python("-m", "kdanalysis", *arguments)


def python(*arguments: object) -> Callable[[], None]:
    """Return what runs an interpreter, and shows what it says where it fails."""

    def run() -> None:
        call = [sys.executable, *map(str, arguments)]
        done = subprocess.run(call, capture_output=True, text=True, env=COMPILED)
        if done.returncode:
            raise RuntimeError(f"{' '.join(call)} ended with {done.returncode}: {done.stderr}")

    return run
