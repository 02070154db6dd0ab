"""``kdanalysis verify``: whether a run folder is whole."""

import typer

from kdanalysis.cli.groups import Machine, grouped
from kdanalysis.cli.options import Run


@grouped
def verify(run: Run, machine: Machine) -> None:
    """Check every byte of a run, and name the parts that are damaged.

    Damaged means cut short, changed or missing. The exit code is 1 when something was found,
    0 when the run is whole.

    Example: kdanalysis verify runs/gdkd
    """
    from kdanalysis.store.inventory import unclosed
    from kdanalysis.store.inventory import verify as find

    findings = find(run)
    for finding in findings:
        typer.echo(f"{finding.part}: {finding.problem}")
    if findings:
        typer.echo(f"{run}: {len(findings)} problem{'s'[: len(findings) > 1]} found", err=True)
        raise typer.Exit(1)
    typer.echo(f"{run} is whole")
    if note := unclosed(run):
        typer.echo(f"but {note}")
