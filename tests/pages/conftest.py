"""Logits and runs small enough to look at."""

import numpy as np
import pytest

from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

CLASSES = ["<b>cat</b>", "$dog$", "owl", "ant", "bee", "cow", "eel"]


@pytest.fixture(scope="session")
def logits():
    """Teacher, student and target of 60 samples."""
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(60, 7)).astype(np.float32) * 2
    student = (teacher + rng.normal(size=(60, 7))).astype(np.float32)
    return teacher, student, np.where(rng.random(60) < 0.7, teacher.argmax(1), 3)


@pytest.fixture(scope="session")
def make_run(tmp_path_factory, logits):
    """Write a run of two captured steps under a name, in a new folder."""

    def make(name: str, loss: str = "KD(temperature=2.0)", teacher: bool = True):
        info = RunInfo(7, CLASSES, loss, ("kd",), temperature=2.0)
        path = tmp_path_factory.mktemp("runs") / name
        writer = PartWriter(path, 0, info)
        for step, part in ((0, slice(0, 30)), (10, slice(30, 60))):
            columns = {
                "step": np.full(30, step),
                "epoch": np.full(30, step // 10, dtype=np.int32),
                "sample_id": np.arange(30),
                "student_logits": logits[1][part],
            }
            if teacher:
                columns |= {"teacher_logits": logits[0][part], "target": logits[2][part]}
            writer.write(columns)
        writer.close()
        return path

    return make
