"""``kdanalysis diagnose``: the teacher card of saved logits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.options import (
    Device,
    Overwrite,
    Seed,
    Temperatures,
    parse_temperatures,
    prepare,
)

if TYPE_CHECKING:
    import pandas as pd
    import torch


def diagnose(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Logits: .npz, .npy, .pt, .safetensors, .parquet, or a run folder.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write tables, figures and a page here."),
    ] = None,
    temperatures: Temperatures = "1,2,4,8",
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Print the card of a teacher: how sure, how right, how varied it is, and settings to try.

    The teacher's logits are enough; labels in the file add accuracy and calibration. The settings
    follow from the card by rules that the page states: where to start, not an optimum.

    Example: kdanalysis diagnose teacher.npz --out card --temperatures 1,4
    """
    ladder = parse_temperatures(temperatures)
    from kdanalysis.cli.output import card_folder

    with card_folder(out, overwrite) as folder:
        examine(file, ladder, prepare(seed, device), folder)


def examine(
    file: Path, temperatures: tuple[float, ...], device: "torch.device", folder: Path | None
) -> None:
    """Read the logits once, print the card, and fill the folder where there is one."""
    from kdanalysis.analyzers.teacher.card_tiles import wide_card
    from kdanalysis.cli.progress import track
    from kdanalysis.cli.terminal import print_frame, warn_of_skipped
    from kdanalysis.core.ranks import RANKS
    from kdanalysis.pages.teacher import study_teacher, teacher_page
    from kdanalysis.store.sources import load_logits

    if RANKS.first:
        warn_of_skipped(file)
    logits = load_logits(file)
    tables = study_teacher(
        logits,
        temperatures,
        device,
        lambda batches: track(
            batches,
            "Reading",
            len(RANKS.share(logits.num_rows)),
            lambda batch: len(batch["teacher_logits"]),
        ),
    )
    if not RANKS.first:
        return
    title = f"{file}: {logits.num_rows:,} samples, {logits.num_classes} classes"
    print_frame(wide_card(tables["teacher"]), title=title)
    print_suggestions(tables["suggestion"])
    if folder is not None:
        import matplotlib as mpl

        mpl.use("Agg")
        from kdanalysis.pages.page import write_folder

        write_folder(teacher_page(logits, file.name, tables), folder)


def print_suggestions(table: "pd.DataFrame") -> None:
    """Print every suggested setting with its evidence, and the loss ready to paste."""
    from kdanalysis.analyzers.teacher.suggestion import suggestion_reading, values_as_text
    from kdanalysis.cli.terminal import print_frame

    reading, columns = suggestion_reading(table), ["setting", "value", "evidence"]
    typer.echo()
    print_frame(values_as_text(table)[columns], title=f"Suggestions. {reading.sentence}")
    if reading.number:
        typer.echo(f"\n{reading.number}")
