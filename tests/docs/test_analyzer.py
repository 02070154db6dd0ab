"""The analyzer of docs/analyzer.md is one file: table, figure, command and section appear."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kdanalysis as kd
from kdanalysis.analyzers.noun import NOUNS
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

PAGE = Path(__file__).parents[2] / "docs" / "analyzer.md"
CODE = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
MOST_LINES = 40


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "distance.py"
    path.write_text(CODE, encoding="utf-8")
    return path


@pytest.fixture
def toy(file):
    spec = spec_from_file_location("distance", file)
    spec.loader.exec_module(module_from_spec(spec))
    yield
    del NOUNS["distance"]


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(40, 5)).astype(np.float32)
    return teacher, teacher + rng.normal(size=(40, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory, sides):
    folder = tmp_path_factory.mktemp("runs") / "kd"
    writer = PartWriter(folder, 0, RunInfo(5, loss="KD(temperature=2.0, weight=1.0)"), "float32")
    for step, rows in ((0, slice(0, 20)), (10, slice(20, 40))):
        teacher, student = (side[rows] for side in sides)
        numbers = {"step": np.full(20, step), "epoch": np.zeros(20, np.int32)}
        ids = {"sample_id": np.arange(20), "target": np.arange(20) % 5}
        writer.write({**numbers, **ids, "teacher_logits": teacher, "student_logits": student})
    writer.close()
    return folder


def expected(teacher: np.ndarray, student: np.ndarray) -> list[float]:
    gap = (student - teacher).astype(float)
    distances = np.linalg.norm(gap - gap.mean(1, keepdims=True), axis=1)
    return [distances[:20].mean(), distances[20:].mean()]


def test_it_is_short():
    lines = [line for line in CODE.splitlines() if line.strip() and not line.startswith('"""')]
    assert len(lines) <= MOST_LINES


def test_its_table_and_figure_are_there(toy, run, sides):
    opened = kd.open(run)
    assert "distance" in opened.names
    table = opened.table("distance")
    assert table.step.tolist() == [0, 10]
    assert table.distance.tolist() == pytest.approx(expected(*sides))
    (ax,) = opened.figure("distance").axes
    assert ax.lines[0].get_ydata().tolist() == table.distance.tolist()


def test_a_section_appears_on_the_page(toy, run, tmp_path):
    kd.open(run).report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Distance of the logits" in page
    assert "its teacher than it began." in page
    assert "Mean distance of the centred logits" in page


def test_the_command_knows_it(run, file, tmp_path, sides):
    out = tmp_path / "table.csv"
    command = ["--import", "distance", "table", str(run), "distance", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "kdanalysis", *command],
        capture_output=True,
        text=True,
        cwd=file.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(out).distance.tolist() == pytest.approx(expected(*sides))


def test_control_without_the_import_there_is_no_such_table(run):
    with pytest.raises(ValueError, match="no table 'distance'"):
        kd.open(run).table("distance")
