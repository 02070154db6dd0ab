"""``kdanalysis report``: the page of one run or several."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.options import Device, Overwrite, Seed, prepare

if TYPE_CHECKING:
    import torch


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
    from kdanalysis.pages.publish import output_file

    if out.suffix != ".html":
        raise ValueError(f"--out {out}: need a name that ends in .html")
    with output_file(out, overwrite) as file:
        file.write_text(page_of(runs, prepare(seed, device)), encoding="utf-8")
    typer.echo(f"wrote {out}")


def page_of(paths: list[Path], device: "torch.device") -> str:
    """Open the runs, read each once, and return their page."""
    from kdanalysis.cli.progress import watching
    from kdanalysis.cli.terminal import warn_of_skipped
    from kdanalysis.pages.run import report as study_of
    from kdanalysis.studies.opening import short_names
    from kdanalysis.studies.run import open_run

    runs = {name: open_run(path) for name, path in short_names(paths).items()}
    for run in runs.values():
        warn_of_skipped(run)
    return study_of(runs, device, watching("Reading {}")).html()
