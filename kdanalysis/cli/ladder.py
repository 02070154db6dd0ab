"""``kdanalysis ladder``: the stepping stones between two trained networks, without training."""

from pathlib import Path
from typing import Annotated

import typer

from kdanalysis.cli.groups import Blocks, Images, Machine, Output, grouped
from kdanalysis.cli.options import CHECKPOINT, IMAGES, BatchSize


@grouped
def ladder(
    student: Annotated[Path, typer.Argument(metavar="STUDENT.pt", help=CHECKPOINT)],
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER.pt", help=CHECKPOINT)],
    data: Annotated[str, IMAGES],
    *,
    blocks: Blocks,
    loss: Annotated[
        str, typer.Option(metavar="LOSS", help="Base of the loss whose gradients are taken.")
    ] = "kd",
    strength: Annotated[float, typer.Option(help="Of the ridge regression, from 0.")] = 1e-3,
    temperature: Annotated[float, typer.Option(help="T > 0 of the divergences.")] = 1.0,
    fit_images: Annotated[
        int, typer.Option(help="Training images for the fit, drawn by the seed.")
    ] = 4000,
    batch_size: BatchSize = 250,
    given: Images,
    output: Output,
    machine: Machine,
) -> None:
    """Show the stepping stones between a student and its teacher, both trained already.

    Connectors are fitted on training images by ridge regression; what the stones say, and what
    each would send into the student's blocks, is read off the validation images.

    Example: kdanalysis ladder results/students/kd.pt results/teacher.pt --data images/ --out ladder
    """
    if fit_images < 1:
        raise ValueError(f"--fit-images {fit_images}: need 1 or more")
    from kdanalysis.cli.progress import watching_images
    from kdanalysis.cli.terminal import print_frame

    with output.page() as write:
        from kdanalysis.pages.ladder import ladder as climb

        device, (student_blocks, teacher_blocks) = machine.prepare(), blocks.names
        study = climb(
            student,
            teacher,
            given.load(data, machine.seed),
            loss=loss,
            student_blocks=student_blocks,
            teacher_blocks=teacher_blocks,
            strength=strength,
            temperature=temperature,
            fit_images=fit_images,
            batch_size=batch_size,
            seed=machine.seed,
            device=device,
            watch=watching_images,
        )
        title = f"{study.facts['validation images']} validation images of {study.facts['data']}"
        hidden = ["k", "temperature", "related", "n", "non_finite"]
        print_frame(study.tables["ladder"].drop(columns=hidden), title=title)
        write(study)
