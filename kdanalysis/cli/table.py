"""``kdanalysis table``: one table of a run, on the terminal or as a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.groups import Machine, grouped
from kdanalysis.cli.options import Overwrite, Run

if TYPE_CHECKING:
    import pandas as pd


@grouped
def table(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the table.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write FILE.csv or FILE.parquet instead."),
    ] = None,
    overwrite: Overwrite = False,
    machine: Machine,
) -> None:
    """Print one table of a run, or write it to a file.

    An unknown NAME lists the tables there are.

    Example: kdanalysis table runs/gdkd magnitude --out magnitude.csv
    """
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out {out}: need a name that ends in .csv or .parquet")
    from kdanalysis.cli.terminal import print_frame, warn_of_skipped
    from kdanalysis.studies.run import open_run

    machine.prepare()
    opened = open_run(run)
    warn_of_skipped(opened)
    frame = opened.table(name)
    if out is None:
        print_frame(frame, title=f"{name} of {run}")
    else:
        write(frame, out, overwrite)
        typer.echo(f"wrote {out}, {len(frame):,} rows")


def write(frame: "pd.DataFrame", out: Path, overwrite: bool) -> None:
    """Write the frame with every digit, in the format the file's name asks for."""
    from kdanalysis.pages.publish import output_file

    with output_file(out, overwrite) as file:
        if out.suffix == ".csv":
            frame.to_csv(file, index=False)
        else:
            frame.to_parquet(file, index=False)
