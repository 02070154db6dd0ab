"""``kdanalysis sweep``: what every k and several temperatures would do, from saved logits."""

from pathlib import Path
from typing import Annotated

import typer

from kdanalysis.cli.groups import Machine, Output, grouped
from kdanalysis.cli.options import (
    Keys,
    Temperatures,
    Vocabulary,
    parse_keys,
    parse_ks,
    parse_temperatures,
    parse_weights,
)
from kdanalysis.core.ranks import RANKS


@grouped
def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Teacher and student logits: .npz, .pt, .safetensors, .parquet, or a run folder.",
        ),
    ],
    *,
    temperatures: Temperatures = "1,2,4,8",
    ks: Annotated[
        str | None,
        typer.Option(
            "--ks",
            metavar="K,K,...",
            help="all, or numbers and ranges: 1,2,10-20; if not given all of up to 5000 classes, "
            "of more some 100.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="W/W/W", help="Weights of high, low_top and low_other.")
    ] = "1/1/8",
    keys: Keys = None,
    vocabulary: Vocabulary = None,
    output: Output,
    machine: Machine,
) -> None:
    """Show what every k and several temperatures would have done to the gradients.

    Values, gradient norms, shares and cosines of GDKD's terms and of KD, from the logits alone:
    nothing is trained.

    Example: kdanalysis sweep logits.npz --ks 1,2,5,10-20 --temperatures 1,4 --out sweep
    """
    chosen = None if ks is None else parse_ks(ks)
    settings = parse_temperatures(temperatures), chosen, parse_weights(weights)
    names = parse_keys(keys)
    with output.page() as write:
        device = machine.prepare()
        from kdanalysis.cli.progress import watching
        from kdanalysis.cli.terminal import heading, open_file, print_frame
        from kdanalysis.pages.sweep import excerpt, sweep_study
        from kdanalysis.studies.compute import left_out

        source = open_file(file, names, vocabulary)
        study = sweep_study(source, *settings, device, watching("Sweeping"))
        if not RANKS.first:
            return
        table = study.tables["sweep"]
        more = f"{left_out(table)}; an excerpt, --out writes all of it"
        print_frame(excerpt(table), title=heading(source, file, more))
        if silent := study.facts.get("no gradient"):
            typer.echo(f"No gradient: {silent}.")
        write(study)
