"""``kdanalysis report``: the page of one run or several."""

from pathlib import Path
from typing import Annotated

import typer

from kdanalysis.cli.options import Device, Overwrite, Seed, prepare


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run folder or more.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Page to write.")],
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Write one page with the figures and tables of runs.

    The page is a single file that needs no network.

    Example: kdanalysis report runs/kd runs/gdkd -o report.html
    """
    from kdanalysis.cli.output import output_file

    with output_file(out, overwrite) as file:
        from kdanalysis.pages import run_page
        from kdanalysis.run import open_run

        prepare(seed, device)
        page = run_page({str(run): open_run(run) for run in runs})
        file.write_text(page, encoding="utf-8")
    typer.echo(f"wrote {out}")
