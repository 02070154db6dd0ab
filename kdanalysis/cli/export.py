"""``kdanalysis export``: the logits of a run as one file for other tools."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from kdanalysis.cli.groups import Machine, grouped
from kdanalysis.cli.options import Overwrite, Run

Format = Literal["list", "npz", "safetensors"]


@grouped
def export(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="File to write.")],
    *,
    logits: Annotated[
        Format, typer.Option(help="list: Parquet with lists of numbers; npz; safetensors.")
    ] = "npz",
    overwrite: Overwrite = False,
    machine: Machine,
) -> None:
    """Write the logits of a run to one file for other tools.

    Targets, steps and sample ids go with them.

    Example: kdanalysis export runs/gdkd --logits npz -o gdkd.npz
    """
    from kdanalysis.cli.terminal import warn_of_skipped
    from kdanalysis.pages.publish import output_file
    from kdanalysis.store.export import export as write
    from kdanalysis.store.run import StoredRun

    warn_of_skipped(StoredRun(run))
    with output_file(out, overwrite) as file:
        write(run, file, logits)
    typer.echo(f"wrote {out}")
