"""Writing speed and size of a run's store."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter


def store(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Writing batches of 256 x 1000 as float16, and the size against ``np.savez`` of float32."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((2, 256, 1000), dtype=np.float32)
    half = logits.astype(np.float16)
    batches = 200

    def write(folder: str) -> float:
        info, start = RunInfo(num_classes=1000), time.perf_counter()
        with PartWriter(Path(folder) / "run", 0, info) as writer:
            for step in range(batches):
                writer.write(_columns(step, half))
        return time.perf_counter() - start

    rates = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            rates.append(batches * half.nbytes / 1e6 / write(folder))
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            ours = sum(path.stat().st_size for path in files)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.npz"
        np.savez(path, **(_columns(0, logits)))
        plain = batches * path.stat().st_size
    return {
        "write": {"mb_per_s": statistics.median(rates)},
        "size": {"ours_mb": ours / 1e6, "plain_mb": plain / 1e6, "ours_over_plain": ours / plain},
    }


def _columns(step: int, logits: np.ndarray) -> dict[str, np.ndarray]:
    rows = np.arange(256)
    return {
        "step": np.full(256, step),
        "epoch": np.zeros(256, np.int32),
        "sample_id": rows,
        "target": rows % 1000,
        "teacher_logits": logits[0],
        "student_logits": logits[1],
    }
