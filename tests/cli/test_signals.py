"""A command that is asked to end cleans up after itself, and says how it ended."""

import multiprocessing
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from kdanalysis import training
from kdanalysis.cli import report as reporting
from kdanalysis.pages import sweep as sweeping
from kdanalysis.pages.html import picture as drawing
from kdanalysis.pages.study import Study
from kdanalysis.store import export as exporting

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 20, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", teacher_logits=teacher, student_logits=student)
    return tmp_path / "x.npz"


@pytest.fixture
def ending(monkeypatch):
    """Let a signal come while half of the output is written.

    What starts the tests in the background ignores SIGINT, and they would inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def come(number):
        def write(self, folder, figures=()):
            (folder / "report.html").write_text("half")
            os.kill(os.getpid(), number)

        def study_of_runs(runs, device):
            os.kill(os.getpid(), number)

        def export(run, path, fmt):
            path.write_text("half")
            os.kill(os.getpid(), number)

        def sweep_study(*given):
            os.kill(os.getpid(), number)

        monkeypatch.setattr(Study, "write", write)
        monkeypatch.setattr(sweeping, "sweep_study", sweep_study)
        monkeypatch.setattr(reporting, "study_of_runs", study_of_runs)
        monkeypatch.setattr(exporting, "export", export)

    yield come
    signal.signal(signal.SIGINT, before)


ENDS = {signal.SIGTERM: (143, "terminated"), signal.SIGINT: (130, "interrupted")}


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("command", ["diagnose", "sweep", "export", "report"])
def test_a_signal_leaves_nothing_half_written(
    run_command, run_folder, file, tmp_path, ending, command, number
):
    ending(number)
    given = run_folder if command in ("export", "report") else file
    out = tmp_path / {"export": "out.npz", "report": "out.html"}.get(command, "out")
    before = sorted(tmp_path.rglob("*"))
    result = run_command(command, given, "--out", out)
    code, word = ENDS[number]
    assert (result.exit_code, result.stderr) == (code, f"kdanalysis: {word}\n")
    assert sorted(tmp_path.rglob("*")) == before
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.skipif(sys.platform != "linux", reason="one process elsewhere")
@pytest.mark.parametrize("number", ENDS)
@pytest.mark.usefixtures("drawn")
def test_a_signal_ends_both_processes_that_draw(
    run_command, run_folder, tmp_path, monkeypatch, number
):
    here, began = os.getpid(), tmp_path / "began"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)

    def make_picture(shown, prefix):
        if os.getpid() != here:
            began.write_text("")
            time.sleep(60)
        while not began.exists():
            time.sleep(0.01)
        os.kill(here, number)

    monkeypatch.setattr(drawing, "make_picture", make_picture)
    result = run_command("report", run_folder, "--out", tmp_path / "out.html")
    signal.signal(signal.SIGINT, before)
    code, word = ENDS[number]
    assert (result.exit_code, result.stderr) == (code, f"kdanalysis: {word}\n")
    assert {path.name for path in tmp_path.iterdir()} == {"gdkd", "began"}
    assert multiprocessing.active_children() == []


def test_who_ignores_a_signal_is_not_overruled(run_command, file, tmp_path, ending):
    ending(signal.SIGHUP)
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        result = run_command("diagnose", file, "--out", tmp_path / "out")
    finally:
        signal.signal(signal.SIGHUP, old)
    assert result.exit_code == 0
    assert (tmp_path / "out" / "report.html").read_text() == "half"


def test_a_training_that_is_ended_says_how_to_go_on(run_command, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "run_experiment", lambda *a, **b: os.kill(os.getpid(), 15))
    sides = ("--data", "digits", "--teacher", "resnet8", "--student", "resnet8", "--limit", 40)
    result = run_command("train", *sides, "--loss", "kd", "--out", tmp_path / "out")
    said = "whole epochs are kept: the same command with --resume goes on"
    assert result.exit_code == 143
    assert result.stderr.splitlines() == [said, "kdanalysis: terminated"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "out" / "students").symlink_to(tmp_path / "mine")
    result = run_command("train", *sides, "--loss", "kd", "--out", tmp_path / "out", "--resume")
    assert result.exit_code == 2
    assert "students is a link: nothing is written through it" in result.stderr
