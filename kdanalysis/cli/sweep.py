"""``kdanalysis sweep``: what every k and several temperatures would do, from saved logits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.options import (
    Device,
    Figures,
    Keys,
    Out,
    Overwrite,
    Seed,
    Temperatures,
    parse_keys,
    parse_ks,
    parse_temperatures,
    parse_weights,
    prepare,
)

if TYPE_CHECKING:
    import torch


def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Teacher and student logits: .npz, .pt, .safetensors, .parquet, or a run folder.",
        ),
    ],
    out: Out = None,
    figures: Figures = "",
    temperatures: Temperatures = "1,2,4,8",
    ks: Annotated[
        str, typer.Option("--ks", metavar="K,K,...", help="all, or numbers and ranges: 1,2,10-20.")
    ] = "all",
    weights: Annotated[
        str, typer.Option(metavar="W/W/W", help="Weights of high, low_top and low_other.")
    ] = "1/1/8",
    keys: Keys = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Show what every k and several temperatures would have done to the gradients.

    Values, gradient norms, shares and cosines of GDKD's terms and of KD, from the logits alone:
    nothing is trained.

    Example: kdanalysis sweep logits.npz --ks 1,2,5,10-20 --temperatures 1,4 --out sweep
    """
    settings = parse_temperatures(temperatures), parse_ks(ks), parse_weights(weights)
    names = parse_keys(keys)
    from kdanalysis.pages.publish import card_folder

    with card_folder(out, overwrite, figures) as folder:
        run_sweep(file, settings, names, prepare(seed, device), folder, figures)


def run_sweep(
    file: Path,
    settings: tuple,
    keys: dict[str, str],
    device: "torch.device",
    folder: Path | None,
    figures: str,
) -> None:
    """Read the logits once, print an excerpt, and fill the folder where there is one."""
    from kdanalysis.cli.progress import watching
    from kdanalysis.cli.terminal import print_frame, warn_of_skipped
    from kdanalysis.core.ranks import RANKS
    from kdanalysis.pages.sweep import excerpt, sweep_study
    from kdanalysis.studies.compute import left_out
    from kdanalysis.studies.opening import open_source

    source = open_source(file, keys=keys)
    warn_of_skipped(source.run)
    study = sweep_study(source, *settings, device, watching("Sweeping"))
    if not RANKS.first:
        return
    table = study.tables["sweep"]
    title = f"{file}: {source.num_rows:,} samples, {source.info.num_classes} classes"
    title += f"{left_out(table)}; an excerpt, --out writes all of it"
    print_frame(excerpt(table), title=title)
    if folder is not None:
        study.write(folder, figures)
