"""``kdanalysis report``: the page of one run or several."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.groups import Machine, grouped
from kdanalysis.cli.options import Figures, Overwrite

if TYPE_CHECKING:
    import torch

    from kdanalysis.pages.study import Study


@grouped
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run folder or more.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Page to write.")],
    *,
    figures: Figures = "",
    overwrite: Overwrite = False,
    machine: Machine,
) -> None:
    """Write one page with the figures and tables of runs.

    The page is a single file that needs no network; --figures go to a folder beside it.

    Example: kdanalysis report runs/kd runs/gdkd -o report.html
    """
    from kdanalysis.pages.publish import figure_kinds, figures_beside, output_file

    if out.suffix != ".html":
        raise ValueError(f"--out {out}: need a name that ends in .html")
    with ExitStack() as stack:
        folder = stack.enter_context(figures_beside(out, overwrite)) if figures else None
        file = stack.enter_context(output_file(out, overwrite))
        study = study_of_runs(runs, machine.prepare())
        file.write_text(study.html(), encoding="utf-8")
        if folder is not None:
            study.write_figures(folder, figure_kinds(figures))
    typer.echo(f"wrote {out}" + (f" and {out.stem}-figures" if figures else ""))


def study_of_runs(paths: list[Path], device: "torch.device") -> "Study":
    """Open the runs, read each once, and return their study."""
    from kdanalysis.cli.progress import watching
    from kdanalysis.cli.terminal import warn_of_skipped
    from kdanalysis.pages.run import report as study_of
    from kdanalysis.studies.opening import short_names
    from kdanalysis.studies.run import open_run

    runs = {name: open_run(path) for name, path in short_names(paths).items()}
    for run in runs.values():
        warn_of_skipped(run)
    return study_of(runs, device, watching("Reading {}"))
