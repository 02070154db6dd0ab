"""What a vocabulary costs: the teacher's card a token, its memory, and a token in a run's store."""

import statistics
import tempfile
from functools import partial
from pathlib import Path

import torch

import kdanalysis as kd
from measures.memory import peak, write
from measures.sweep import pair
from measures.timing import seconds

SIZES = (32_000, 128), (152_000, 64)  # classes, tokens
KEPT, STEPS, TOKENS = 64, 8, 512


def vocabulary(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Milliseconds a token of ``kd.diagnose`` with labels, and bytes a token of what a run keeps.

    The memory is that of one process of ``kdanalysis diagnose``, imports included, less the
    teacher's logits; one run.
    """
    results = {}
    for classes, tokens in SIZES:
        student, teacher = pair(tokens, classes, device)
        source = {"teacher_logits": teacher.cpu(), "target": student.argmax(-1).cpu()}
        call = partial(kd.diagnose, source, device=device)
        call()
        times = statistics.median(seconds(call, device) for _ in range(repetitions))
        results[f"diagnose, {classes} classes"] = {"ours_ms_per_token": 1e3 * times / tokens}
    with tempfile.TemporaryDirectory() as folder:
        most = peak("diagnose", write(Path(folder), tokens, classes), device)
    memory = most * 2**20 / 1e6 - teacher.nbytes / 1e6
    return results | {
        f"memory of diagnose, {classes} classes": {"ours_mb": memory},
        f"store, top {KEPT} of {SIZES[0][0]} classes": {"ours_bytes_per_token": kept()},
    }


def kept() -> float:
    """Bytes a token of a run that keeps the largest log-probabilities of both sides."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"keep": kd.TopK(KEPT), "schedule": kd.every(1), "max_rows": TOKENS}
        with kd.Recorder(Path(folder) / "run", **options) as recorder:
            for _ in range(STEPS):
                student, teacher = pair(TOKENS, SIZES[0][0], torch.device("cpu"))
                recorder.observe(student.argmax(-1), student=student, teacher=teacher)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files) / (STEPS * TOKENS)
