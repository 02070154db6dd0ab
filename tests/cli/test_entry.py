"""The real entry, as a user starts it: quick help, quiet pipes, one sentence on bad input."""

import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from itertools import pairwise

import numpy as np
import pytest

from kdanalysis.cli import main as commands
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


def test_an_interruption_while_commands_are_loaded_is_told(monkeypatch, capsys):
    class Pressed:
        def find_spec(self, name, *given):
            if name == "kdanalysis.cli.main":
                raise KeyboardInterrupt

    from kdanalysis.__main__ import main

    monkeypatch.delitem(sys.modules, "kdanalysis.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Pressed(), *sys.meta_path])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (130, "kdanalysis: interrupted\n")


def test_an_interruption_before_a_command_begins_is_told(monkeypatch, capsys):
    from kdanalysis.__main__ import main

    def pressed():
        raise KeyboardInterrupt

    monkeypatch.setattr("kdanalysis.cli.main.speak_plainly", pressed)
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (130, "kdanalysis: interrupted\n")


@pytest.mark.parametrize("closed", [("stdout",), ("stdout", "stderr")])
def test_a_command_runs_where_its_output_is_closed(closed, tmp_path, monkeypatch):
    logits = np.random.default_rng(0).normal(size=(2, 20, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", teacher_logits=logits[0], student_logits=logits[1])
    given = "sweep", str(tmp_path / "x.npz"), "--out", str(tmp_path / "page")
    monkeypatch.setattr(sys, "argv", ["kdanalysis", *given])
    for name in closed:
        monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit) as end:
        commands.main()
    opened = [getattr(sys, name) for name in closed]
    for stream in opened:
        stream.close()
    assert end.value.code == 0
    assert (tmp_path / "page" / "report.html").is_file()


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
