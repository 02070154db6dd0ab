"""``kdanalysis regions``: what a teacher sees in the cells of images, and a student with it."""

from pathlib import Path
from typing import Annotated

import typer

from kdanalysis.cli.groups import Images, Machine, Output, grouped
from kdanalysis.cli.options import CHECKPOINT, IMAGES, BatchSize, parse_scales


@grouped
def regions(
    teacher: Annotated[
        Path,
        typer.Argument(
            metavar="TEACHER.pt|FILE.npz", help=f"{CHECKPOINT} Or a file of region logits."
        ),
    ],
    *,
    data: Annotated[str | None, IMAGES] = None,
    student: Annotated[
        Path | None, typer.Option(metavar="STUDENT.pt", help="Its student; also a checkpoint.")
    ] = None,
    scales: Annotated[
        str, typer.Option(metavar="M,M,...", help="m x m cells for each m, rising from 1.")
    ] = "1,2,4",
    loss: Annotated[str, typer.Option(metavar="LOSS", help="Of one region, such as dkd.")] = "kd",
    images: Annotated[int, typer.Option(help="How many to show with their cells.")] = 6,
    batch_size: BatchSize = 250,
    given: Images,
    output: Output,
    machine: Machine,
) -> None:
    """Show what a teacher sees in the regions of images, without training.

    The images are the validation images of --data, or those whose region logits a file holds:
    teacher_regions (n, c, r), target and perhaps student_regions, as read_regions yields them.

    With a student also what a loss on the regions (SDD) would teach it: loss and gradient of every
    case, cancellation, and whether the student says in a cell what its teacher says there.

    Example: kdanalysis regions results/teacher.pt --student results/students/kd.pt --data images/
    --out regions
    """
    chosen = parse_scales(scales)
    if images < 0:
        raise ValueError(f"--images {images}: need 0 or more")
    check_sources(teacher, data, student)
    from kdanalysis.analyzers import load_nouns
    from kdanalysis.cli.progress import watching_images

    with output.page() as write:
        from kdanalysis.pages.regions import regions as look

        device = machine.prepare()
        study = look(
            teacher,
            given.load(data, machine.seed) if data is not None else None,
            student,
            loss=loss,
            scales=chosen,
            images=images,
            batch_size=batch_size,
            device=device,
            watch=watching_images,
        )
        for noun, reading in study.readings.items():
            typer.echo(f"{load_nouns()[noun].title}: {reading.sentence}\n")
        write(study)


def check_sources(teacher: Path, data: str | None, student: Path | None) -> None:
    """Raise a ValueError for a checkpoint without images, or a file of regions with more."""
    from kdanalysis.pages.given import is_network

    network = is_network(teacher)
    if network != (data is not None) or (student and not network):
        raise ValueError(
            f"{teacher}: a checkpoint needs --data with its images, a file of region logits needs "
            "neither --data nor --student"
        )
