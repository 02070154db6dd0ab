"""Every error ends as one sentence and an exit code, in the process as well as in a runner."""

import errno
import os
import warnings

import pytest
import typer
from typer.testing import CliRunner

from kdanalysis.cli.boundary import Boundary
from kdanalysis.cli.main import app as program
from kdanalysis.cli.main import import_own
from kdanalysis.core.limits import LOGGER
from kdanalysis.core.warn import warn


def run(error: BaseException | None, *args: str, **env: str):
    """Run a small program whose command raises ``error``."""
    app = typer.Typer(cls=Boundary)

    @app.callback()
    def program(debug: bool = False) -> None:
        pass

    @app.command()
    def work(temperatures: str = "1", out: str = "") -> None:
        print("working")
        if error is not None:
            raise error

    return CliRunner().invoke(app, args or ["work"], env={"KDANALYSIS_DEBUG": "0"} | env)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("need k >= 1,\n  got 0"), "need k >= 1, got 0"),
        (FileExistsError("runs/a exists already"), "runs/a exists already"),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x.npz"),
         "x.npz: No such file or directory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (KeyError("x.npz has no key 'target'"), "x.npz has no key 'target'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(error, sentence):
    result = run(error)
    assert result.exit_code == 2
    assert result.stderr == f"kdanalysis: error: {sentence}\n"


def test_success_is_quiet():
    result = run(None)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "working\n", "")


@pytest.mark.parametrize("error", [KeyError("step"), RuntimeError("boom"), ValueError()])
def test_an_error_of_ours_says_so_without_a_traceback(error):
    result = run(error)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"kdanalysis: error: unexpected {type(error).__name__}")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("args", "env"),
    [(["--debug", "work"], {}), (["work", "--debug"], {}), (["work"], {"KDANALYSIS_DEBUG": "1"})],
)
def test_debug_shows_where(args, env):
    result = run(ValueError("no"), *args, **env)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("kdanalysis: error: no\n")


def test_an_unknown_option_names_the_nearest():
    result = run(None, "work", "--temperature", "3")
    assert result.exit_code == 2
    assert result.stderr == (
        "kdanalysis: error: kdanalysis work has no option --temperature; "
        "the nearest one is --temperatures\n"
    )


@pytest.mark.parametrize("typed", ["--temp", "--o", "-temperatures"])
def test_an_option_written_in_part_or_with_one_dash_is_nearest_to_what_it_begins(typed):
    full = "--out" if typed == "--o" else "--temperatures"
    said = f"has no option {typed}; the nearest one is {full}\n"
    assert CliRunner().invoke(program, ["sweep", "x.npz", typed, "4"]).stderr.endswith(said)


@pytest.mark.parametrize(
    ("option", "given", "need"),
    [
        ("--seed", "abc", "a whole number"),
        ("--seed", "-1", "a number of at least 0"),
        ("--temperature", "4,8", "a number"),
    ],
)
def test_an_option_that_cannot_be_read_is_told_with_what_was_given_and_is_needed(
    option, given, need
):
    result = CliRunner().invoke(program, ["compare", "x.npz", option, given])
    assert result.exit_code == 2
    assert result.stderr == (f"kdanalysis: error: {option} {given!r} cannot be read: need {need}\n")


def test_an_option_of_the_program_behind_the_command_is_told_to_go_before_it():
    result = CliRunner().invoke(program, ["compare", "--import", "mine", "x.npz"])
    assert result.exit_code == 2
    assert result.stderr == (
        "kdanalysis: error: --import goes before the command: kdanalysis --import ... compare\n"
    )


def test_a_module_that_is_no_python_is_named_with_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "no_python.py").write_text("a = 1\nb = = 2\n")
    with pytest.raises(ValueError, match=r"--import no_python: .*no_python\.py, line 2"):
        import_own("no_python")


def test_what_python_calls_image_size_is_an_option_here():
    said = run(ValueError("a is 8x8 pixels: image_size=32, say, brings all to one")).stderr
    assert "--image-size 32, say" in said


def test_an_unknown_command_names_the_nearest():
    result = run(None, "wrok")
    assert result.exit_code == 2
    assert "No such command 'wrok'. Did you mean 'work'?" in result.stderr


def test_ctrl_c_is_one_line_and_exit_code_130():
    result = run(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "kdanalysis: interrupted\n")


def test_a_finding_keeps_its_exit_code():
    assert run(typer.Exit(1)).exit_code == 1


def test_no_command_shows_the_help():
    result = run(None, "--debug")
    assert result.exit_code == 0
    assert "Usage: kdanalysis" in result.stdout


def test_what_is_announced_is_a_line_on_stderr_and_nothing_more_once_the_command_ended():
    app = typer.Typer(cls=Boundary)
    app.callback()(lambda: None)
    app.command("work")(lambda: LOGGER.info("100 rows"))
    result = CliRunner().invoke(app, ["work"])
    assert (result.exit_code, result.stderr) == (0, "kdanalysis: 100 rows\n")
    assert (LOGGER.handlers, LOGGER.level) == ([], 0)


def test_what_is_warned_of_is_a_line_on_stderr_and_others_warn_as_ever():
    def work() -> None:
        warn("a font lacks letters")
        warnings.warn("of another kind", UserWarning, stacklevel=1)

    app = typer.Typer(cls=Boundary)
    app.callback()(lambda: None)
    app.command("work")(work)

    def invoked():
        show = warnings.showwarning
        result = CliRunner().invoke(app, ["work"])
        assert warnings.showwarning is show
        return result

    with pytest.warns(UserWarning, match="of another kind") as caught:
        result = invoked()
    assert (result.exit_code, result.stderr) == (0, "kdanalysis: warning: a font lacks letters\n")
    assert len(caught) == 1


def test_a_long_sentence_is_shown_with_its_beginning_and_its_end():
    (line,) = run(ValueError("begin" + 500 * "x" + "end")).stderr.splitlines()
    assert line.startswith("kdanalysis: error: begin")
    assert " ... " in line
    assert line.endswith("xend")
    assert len(line) == 400 + len("kdanalysis: ")


@pytest.mark.parametrize("module", ["..", ".x", "", "a b", "mine.py"])
def test_what_names_no_module_is_told(module):
    with pytest.raises(ValueError, match="need the name of a module, "):
        import_own(module)
