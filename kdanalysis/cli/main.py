"""``kdanalysis COMMAND``: the list of commands and the entry point."""

import typer

from kdanalysis.cli.boundary import Boundary, Together
from kdanalysis.cli.compare import compare
from kdanalysis.cli.diagnose import diagnose
from kdanalysis.cli.export import export
from kdanalysis.cli.info import info
from kdanalysis.cli.ladder import ladder
from kdanalysis.cli.quickstart import quickstart
from kdanalysis.cli.regions import regions
from kdanalysis.cli.report import report
from kdanalysis.cli.sweep import sweep
from kdanalysis.cli.table import table
from kdanalysis.cli.train import train
from kdanalysis.cli.verify import verify

app = typer.Typer(cls=Boundary, add_completion=False, rich_markup_mode="rich")


@app.callback(epilog="kdanalysis COMMAND --help shows the options of a command with an example.")
def kdanalysis(
    debug: bool = typer.Option(False, "--debug", help="Show where an error was raised."),
) -> None:
    """Show what a knowledge-distillation loss really teaches."""


TOGETHER = (train, diagnose, sweep, compare)  # under torchrun these share the work
LOOKING = (diagnose, sweep, compare, ladder, regions, table, report, info, verify, export)
for command in (quickstart, train, *LOOKING):
    app.command(cls=Together if command in TOGETHER else None)(command)


def main() -> None:
    """Run the command of this process's arguments and exit with its code."""
    app()
