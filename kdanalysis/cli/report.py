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
    from kdanalysis.cli.output import output_file

    if out.suffix != ".html":
        raise ValueError(f"--out {out}: need a name that ends in .html")
    with output_file(out, overwrite) as file:
        file.write_text(page_of(runs, prepare(seed, device)), encoding="utf-8")
    typer.echo(f"wrote {out}")


def page_of(paths: list[Path], device: "torch.device") -> str:
    """Open the runs, read each once, and return their page."""
    import matplotlib as mpl

    mpl.use("Agg")
    from kdanalysis.cli.progress import track
    from kdanalysis.cli.terminal import warn_of_skipped
    from kdanalysis.pages.page import close_figures
    from kdanalysis.pages.run import run_page, short_names
    from kdanalysis.studies.run import open_run

    for path in paths:
        warn_of_skipped(path)
    runs = {name: open_run(path) for name, path in short_names(paths).items()}
    page = run_page(runs, device, lambda batches: track(batches, "Reading", None, rows))
    html = page.html()
    close_figures(page.sections)
    return html


def rows(batch: dict) -> int:
    """Return the number of samples of a batch."""
    return len(next(iter(batch.values())))
