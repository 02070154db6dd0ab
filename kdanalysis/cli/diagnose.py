"""``kdanalysis diagnose``: the teacher card of saved logits."""

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
    parse_temperatures,
    prepare,
)

if TYPE_CHECKING:
    import torch

    from kdanalysis.pages.study import Study


def diagnose(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Logits: .npz, .npy, .pt, .safetensors, .parquet, or a run folder.",
        ),
    ],
    out: Out = None,
    figures: Figures = "",
    temperatures: Temperatures = "1,2,4,8",
    keys: Keys = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Print the card of a teacher: how sure, how right, how varied it is, and settings to try.

    The teacher's logits are enough; labels in the file add accuracy and calibration. The settings
    follow from the card by rules that the page states: where to start, not an optimum.

    Example: kdanalysis diagnose teacher.npz --out card --temperatures 1,4
    """
    ladder, names = parse_temperatures(temperatures), parse_keys(keys)
    from kdanalysis.pages.publish import card_folder

    with card_folder(out, overwrite, figures) as folder:
        examine(file, ladder, names, prepare(seed, device), folder, figures)


def examine(
    file: Path,
    temperatures: tuple[float, ...],
    keys: dict[str, str],
    device: "torch.device",
    folder: Path | None,
    figures: str,
) -> None:
    """Read the logits once, print the card, and fill the folder where there is one."""
    from kdanalysis.analyzers.teacher.card_tiles import wide_card
    from kdanalysis.cli.progress import watching
    from kdanalysis.cli.terminal import print_frame, warn_of_skipped
    from kdanalysis.core.ranks import RANKS
    from kdanalysis.pages.teacher import diagnose as study_teacher
    from kdanalysis.studies.compute import without_label
    from kdanalysis.studies.opening import open_source

    source = open_source(file, keys=keys)
    warn_of_skipped(source.run)
    study = study_teacher(source, temperatures, device, watching("Reading"))
    if not RANKS.first:
        return
    title = f"{file}: {source.num_rows:,} samples, {source.info.num_classes} classes"
    title += without_label(source)
    print_frame(wide_card(study.tables["teacher"]), title=title)
    print_suggestions(study)
    if folder is not None:
        study.write(folder, figures)


def print_suggestions(study: "Study") -> None:
    """Print every suggested setting with its evidence, and the loss ready to paste."""
    from kdanalysis.analyzers.teacher.suggestion import values_as_text
    from kdanalysis.cli.terminal import print_frame

    table, reading = study.tables["suggestion"], study.readings["suggestion"]
    columns = ["setting", "value", "evidence"]
    typer.echo()
    print_frame(values_as_text(table)[columns], title=f"Suggestions. {reading.sentence}")
    if reading.number:
        typer.echo(f"\n{reading.number}")
