"""``kdanalysis COMMAND``: the list of commands and the entry point."""

import codecs
import gc
import os
import sys
from importlib import import_module
from inspect import cleandoc
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from kdanalysis import __version__
from kdanalysis.cli.boundary import Boundary, Command, Together
from kdanalysis.cli.compare import compare
from kdanalysis.cli.diagnose import diagnose
from kdanalysis.cli.export import export
from kdanalysis.cli.info import info
from kdanalysis.cli.ladder import ladder
from kdanalysis.cli.quickstart import quickstart
from kdanalysis.cli.regions import regions
from kdanalysis.cli.report import report
from kdanalysis.cli.sparsify import sparsify
from kdanalysis.cli.sweep import sweep
from kdanalysis.cli.table import table
from kdanalysis.cli.train import train
from kdanalysis.cli.truncation import truncation
from kdanalysis.cli.verify import verify


def print_version(asked: bool) -> bool:
    """Print the version and end, where it is asked for."""
    if asked:
        typer.echo(f"kdanalysis {__version__}")
        raise typer.Exit
    return asked


PLAIN = {
    "\u2212": "-",
    "\u2013": "-",
    "\u00d7": "x",
    "\u2500": "-",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "→": "->",
    "…": "...",
}

app = typer.Typer(cls=Boundary, add_completion=False, rich_markup_mode="rich")


@app.callback(epilog="kdanalysis COMMAND --help shows the options of a command with an example.")
def kdanalysis(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error was raised.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=print_version, is_eager=True),
    ] = False,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="MODULE",
            help="Import a module with analyzers or losses of your own first; repeatable.",
        ),
    ] = None,
) -> None:
    """Show what a knowledge-distillation loss really teaches."""
    for module in imports or ():
        import_own(module)


def import_own(module: str) -> None:
    """Import a module, also from the folder that the command is called in.

    Raises:
        ValueError: there is no such module, or it is no Python.
    """
    if module.endswith(".py"):
        raise ValueError(f"--import {module}: need the name of a module, without .py")
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"--import {module}: need the name of a module, such as my.losses")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        import_module(module)
    except SyntaxError as error:
        place = f"{error.filename}, line {error.lineno}"
        raise ValueError(f"--import {module}: {error.msg} ({place})") from error
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--import {module}: {error}; looked in {here} and where Python does"
        ) from error


def flowing(text: str) -> str:
    """Return a docstring with a line a paragraph, which the help wraps at the terminal's width."""
    return "\n\n".join(" ".join(part.split()) for part in cleandoc(text).split("\n\n"))


TOGETHER = (train, diagnose, sweep, truncation, compare)  # under torchrun these share the work
LOOKING = (
    *(diagnose, sweep, truncation, compare, ladder, regions),
    *(table, report, info, verify),
)
WRITING = (export, sparsify)
for command in (quickstart, train, *LOOKING, *WRITING):
    kind = Together if command in TOGETHER else Command
    app.command(cls=kind, help=flowing(command.__doc__))(command)


def speak_plainly() -> None:
    """Let stdout and stderr write what their encoding lacks otherwise: a minus sign as a hyphen.

    As of a pipe on Windows, or where the locale is of one alphabet.
    """
    codecs.register_error(plainly.__name__, plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=plainly.__name__)


def plainly(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for letters that cannot be encoded, and where to go on: see ``codecs``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    escaped = (PLAIN.get(one) or ascii(one)[1:-1] for one in lost)
    return "".join(escaped), error.end


def main() -> None:
    """Run the command of this process's arguments and exit with its code.

    Before it ends, Python would go through all objects that a page is made of, for up to 0.6 s, to
    find garbage; the system takes the memory back as it is.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by >&-, or of a program without a terminal
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    speak_plainly()
    try:
        app()
    finally:
        gc.freeze()
