"""``kdanalysis regions``: what a teacher sees in the cells of images, and a student with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.options import (
    IMAGES,
    BatchSize,
    Device,
    Figures,
    ImageSize,
    Limit,
    Out,
    Overwrite,
    Seed,
    parse_scales,
    prepare,
)

if TYPE_CHECKING:
    pass

CHECKPOINT = "A checkpoint that kdanalysis train wrote."


def regions(
    teacher: Annotated[
        Path,
        typer.Argument(
            metavar="TEACHER.pt|FILE.npz", help=f"{CHECKPOINT} Or a file of region logits."
        ),
    ],
    data: Annotated[str | None, IMAGES] = None,
    student: Annotated[
        Path | None, typer.Option(metavar="STUDENT.pt", help="Its student; also a checkpoint.")
    ] = None,
    out: Out = None,
    figures: Figures = "",
    scales: Annotated[
        str, typer.Option(metavar="M,M,...", help="m x m cells for each m, rising from 1.")
    ] = "1,2,4",
    loss: Annotated[str, typer.Option(metavar="LOSS", help="Of one region, such as dkd.")] = "kd",
    images: Annotated[int, typer.Option(help="How many to show with their cells.")] = 6,
    image_size: ImageSize = None,
    limit: Limit = None,
    batch_size: BatchSize = 250,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
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
    network = teacher.suffix in (".pt", ".pth")
    if network != (data is not None) or (student and not network):
        raise ValueError(
            f"{teacher}: a checkpoint needs --data with its images, a file of region logits needs "
            "neither --data nor --student"
        )
    from kdanalysis.analyzers import load_nouns
    from kdanalysis.cli.progress import watching_images
    from kdanalysis.losses import parse_loss
    from kdanalysis.pages.publish import card_folder

    with card_folder(out, overwrite, figures) as folder:
        base, where = parse_loss(loss), prepare(seed, device)
        from kdanalysis.pages.regions import regions as look

        splits = None
        if network:
            from kdanalysis.data import load_data

            splits = load_data(data, image_size=image_size, seed=seed, limit=limit)
        settings = {"loss": base, "scales": chosen, "images": images, "batch_size": batch_size}
        study = look(teacher, splits, student, **settings, device=where, watch=watching_images)
        for noun, reading in study.readings.items():
            typer.echo(f"{load_nouns()[noun].title}: {reading.sentence}\n")
        if folder is not None:
            study.write(folder, figures)
