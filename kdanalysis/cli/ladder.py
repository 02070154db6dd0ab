"""``kdanalysis ladder``: the stepping stones between two trained networks, without training."""

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
    parse_names,
    prepare,
)

if TYPE_CHECKING:
    pass

CHECKPOINT = "A checkpoint that kdanalysis train wrote."


def ladder(
    student: Annotated[Path, typer.Argument(metavar="STUDENT.pt", help=CHECKPOINT)],
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER.pt", help=CHECKPOINT)],
    data: Annotated[str, IMAGES],
    out: Out = None,
    figures: Figures = "",
    student_blocks: Annotated[
        str, typer.Option(metavar="NAME,NAME,...", help="In the order they run; all if not given.")
    ] = "",
    teacher_blocks: Annotated[str, typer.Option(metavar="NAME,NAME,...", help="As many.")] = "",
    loss: Annotated[
        str, typer.Option(metavar="LOSS", help="Base of the loss whose gradients are taken.")
    ] = "kd",
    strength: Annotated[float, typer.Option(help="Of the ridge regression, from 0.")] = 1e-3,
    temperature: Annotated[float, typer.Option(help="T > 0 of the divergences.")] = 1.0,
    image_size: ImageSize = None,
    fit_images: Annotated[
        int, typer.Option(help="Training images for the fit, drawn by the seed.")
    ] = 4000,
    limit: Limit = None,
    batch_size: BatchSize = 250,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Show the stepping stones between a student and its teacher, both trained already.

    Connectors are fitted on training images by ridge regression; what the stones say, and what
    each would send into the student's blocks, is read off the validation images.

    Example: kdanalysis ladder results/students/kd.pt results/teacher.pt --data images/ --out ladder
    """
    if fit_images < 1:
        raise ValueError(f"--fit-images {fit_images}: need 1 or more")
    from kdanalysis.cli.progress import watching_images
    from kdanalysis.pages.publish import card_folder

    with card_folder(out, overwrite, figures) as folder:
        from kdanalysis.cli.terminal import print_frame
        from kdanalysis.data import load_data
        from kdanalysis.pages.ladder import ladder as climb

        where = prepare(seed, device)
        study = climb(
            student,
            teacher,
            load_data(data, image_size=image_size, seed=seed, limit=limit),
            loss=loss,
            student_blocks=parse_names(student_blocks),
            teacher_blocks=parse_names(teacher_blocks),
            strength=strength,
            temperature=temperature,
            fit_images=fit_images,
            batch_size=batch_size,
            seed=seed,
            device=where,
            watch=watching_images,
        )
        title = f"{study.facts['validation images']} validation images of {study.facts['data']}"
        hidden = ["k", "temperature", "related", "n", "non_finite"]
        print_frame(study.tables["ladder"].drop(columns=hidden), title=title)
        if folder is not None:
            study.write(folder, figures)
