"""A small run folder and a way to run the commands."""

import numpy as np
import pytest
from typer.testing import CliRunner

from kdanalysis.cli.main import app
from kdanalysis.pages.study import Study
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter


@pytest.fixture
def run_command():
    def run(*args: object):
        return CliRunner().invoke(app, [str(arg) for arg in args], env={"KDANALYSIS_DEBUG": "0"})

    return run


@pytest.fixture
def undrawn(monkeypatch):
    """Pages whose figures are not even made, for tests of something else."""

    def page(study, others=(), _kinds=()):
        for one in others:
            one()
        return f"<title>{study.title}</title>"

    monkeypatch.setattr(Study, "_page", page)


@pytest.fixture
def run_folder(tmp_path):
    """Two parts of 8 samples of 6 classes, steps 0 and 5."""
    rng = np.random.default_rng(0)
    settings = {"student": "resnet8"}
    info = RunInfo(
        6, list("abcdef"), "GDKD(k=2)", ("high", "low_top"), settings=settings, temperature=4.0
    )
    writer = PartWriter(tmp_path / "gdkd", 0, info, rows_per_part=8)
    for step in (0, 5):
        writer.write(
            {
                "step": np.full(8, step),
                "epoch": np.full(8, step // 5, dtype=np.int32),
                "sample_id": np.arange(8),
                "target": rng.integers(0, 6, 8),
                "teacher_logits": rng.normal(size=(8, 6)).astype(np.float32),
                "student_logits": rng.normal(size=(8, 6)).astype(np.float32),
            }
        )
    writer.close()
    return tmp_path / "gdkd"


@pytest.fixture
def soft_folder(tmp_path):
    """One step of 8 samples of 6 classes; the targets of the last 5 are distributions."""
    rng = np.random.default_rng(0)
    target = np.where(np.arange(8) < 3, rng.integers(0, 6, 8), -1)
    hot = np.eye(6, dtype=np.float32)
    with PartWriter(tmp_path / "soft", 0, RunInfo(6)) as writer:
        writer.write(
            {
                "step": np.zeros(8, np.int64),
                "epoch": np.zeros(8, np.int32),
                "sample_id": np.arange(8),
                "target": target,
                "soft_target": np.where(target[:, None] < 0, np.float32(1 / 6), hot[target]),
                "teacher_logits": rng.normal(size=(8, 6)).astype(np.float32),
                "student_logits": rng.normal(size=(8, 6)).astype(np.float32),
            }
        )
    return tmp_path / "soft"
