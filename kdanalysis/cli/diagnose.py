"""``kdanalysis diagnose``: the teacher card of saved logits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.groups import Machine, Output, grouped
from kdanalysis.cli.options import Keys, Temperatures, parse_keys, parse_temperatures
from kdanalysis.core.ranks import RANKS

if TYPE_CHECKING:
    from kdanalysis.pages.study import Study


@grouped
def diagnose(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Logits: .npz, .npy, .pt, .safetensors, .parquet, or a run folder.",
        ),
    ],
    *,
    temperatures: Temperatures = "1,2,4,8",
    keys: Keys = None,
    output: Output,
    machine: Machine,
) -> None:
    """Print the card of a teacher: how sure, how right, how varied it is, and losses to try.

    The teacher's logits are enough; labels in the file add accuracy and calibration. The losses
    are KD, the papers' and a rule's, each held against KD; no student is trained.

    Example: kdanalysis diagnose teacher.npz --out card --temperatures 1,4
    """
    ladder, names = parse_temperatures(temperatures), parse_keys(keys)
    with output.page() as write:
        device = machine.prepare()
        from kdanalysis.analyzers.teacher.card_tiles import wide_card
        from kdanalysis.cli.progress import watching
        from kdanalysis.cli.terminal import heading, open_file, print_frame
        from kdanalysis.pages.teacher import diagnose as study_teacher
        from kdanalysis.studies.compute import without_label

        source = open_file(file, names)
        study = study_teacher(source, ladder, device, watching("Reading"))
        if not RANKS.first:
            return
        title = heading(source, file, without_label(source))
        print_frame(wide_card(study.tables["teacher"]), title=title)
        print_candidates(study)
        write(study)


def print_candidates(study: "Study") -> None:
    """Print every candidate with how it lies to KD, and the losses ready to paste."""
    from kdanalysis.cli.terminal import print_frame

    table, reading = study.tables["candidates"], study.readings["candidates"]
    columns = ["candidate", "cosine", "cosine_batch", "multiplier"]
    typer.echo()
    print_frame(table[columns], title=f"Candidates to try. {reading.sentence}")
    if reading.number:
        typer.echo(f"\n{reading.number}")
