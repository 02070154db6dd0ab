"""Runs to read, made row by row from a seed."""

import numpy as np
import pytest

from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter


def make_batch(step: int, rows: int = 16, classes: int = 6, dtype: str = "float16") -> dict:
    """A batch that only depends on its arguments."""
    rng = np.random.default_rng(step)
    teacher, student = rng.standard_normal((2, rows, classes)).astype(dtype)
    return {
        "step": np.full(rows, step),
        "epoch": np.full(rows, step // 10, np.int32),
        "sample_id": step * rows + rng.permutation(rows),
        "target": rng.integers(0, classes, rows),
        "teacher_logits": teacher,
        "student_logits": student,
    }


def make_run(root, steps=range(12), rows_per_part: int = 64, rank: int = 0, **options):
    """Write steps into a run folder, four steps a part."""
    with PartWriter(root, rank, RunInfo(6), rows_per_part=rows_per_part, **options) as writer:
        for step in steps:
            writer.write(make_batch(step))
    return root


@pytest.fixture
def batch():
    return make_batch


@pytest.fixture
def stored(tmp_path):
    """Write a run below the test's folder."""
    return lambda *args, name="run", **options: make_run(tmp_path / name, *args, **options)
