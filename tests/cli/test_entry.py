"""The real entry, as a user starts it: quick help, quiet pipes, one sentence on bad input."""

import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from itertools import pairwise

import pytest

from kdanalysis.cli.main import app

HEAVY = {"torch", "pandas", "matplotlib", "numpy", "pyarrow", "torchmetrics", "jinja2"}
COMMANDS = (
    "diagnose",
    "sweep",
    "compare",
    "ladder",
    "regions",
    "table",
    "report",
    "info",
    "verify",
    "export",
)


def start(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kdanalysis", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def loaded(statement: str) -> set[str]:
    """Return the heavy packages that a fresh process holds after the statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.split())


def test_help_is_quick():
    times = []
    for _ in range(3):
        before = time.perf_counter()
        assert start("--help").returncode == 0
        times.append(time.perf_counter() - before)
    assert min(times) < 1


def test_a_process_that_ends_does_not_look_for_garbage():
    ends = "import gc, sys\nfrom kdanalysis.cli.main import main\nsys.argv = ['x', '--version']\n"
    ends += "try: main()\nexcept SystemExit: print(len(gc.get_objects()))"
    done = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, timeout=60)
    assert int(done.stdout.split()[-1]) < 1000


def test_nothing_heavy_is_loaded_before_a_command_runs():
    assert loaded("import kdanalysis.cli.main") == set()
    assert loaded("import kdanalysis.pages.teacher") != set()  # the control: this check can fail


@pytest.mark.parametrize("command", [one.callback.__name__ for one in app.registered_commands])
def test_help_fills_a_terminal_of_80_columns_and_cuts_no_word(run_command, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    said = run_command(command, "--help").stdout
    assert "…" not in said
    prose = [line.strip() for line in said.split("╭")[0].splitlines()]
    for line, after in pairwise(prose):
        assert not line or not after or len(f"{line} {after.split()[0]}") > 78, line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run_command, command):
    result = run_command(command, "--help")
    assert result.exit_code == 0
    assert f"Example: kdanalysis {command} " in result.stdout
    assert "--seed" in result.stdout
    assert "--device" in result.stdout


def test_the_version_is_that_of_the_installed_package(run_command):
    result = run_command("--version")
    assert (result.exit_code, result.stdout) == (0, f"kdanalysis {version('kdanalysis')}\n")


def test_bad_input_is_one_sentence_and_no_traceback():
    done = start("info", "nowhere")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "kdanalysis: error: nowhere is not a run folder: it has no run.json"
    ]


def test_a_reader_that_leaves_is_no_error():
    command = f"{shlex.quote(sys.executable)} -m kdanalysis --help | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
