"""``kdanalysis ladder``: the stepping stones between two trained networks, without training."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.options import (
    IMAGES,
    BatchSize,
    Device,
    ImageSize,
    Limit,
    Out,
    Overwrite,
    Seed,
    parse_names,
    prepare,
)

if TYPE_CHECKING:
    import torch

CHECKPOINT = "A checkpoint that kdanalysis train wrote."


def ladder(
    student: Annotated[Path, typer.Argument(metavar="STUDENT.pt", help=CHECKPOINT)],
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER.pt", help=CHECKPOINT)],
    data: Annotated[str, IMAGES],
    out: Out = None,
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
    from kdanalysis.cli.output import card_folder

    with card_folder(out, overwrite) as folder:
        from kdanalysis.data import load_data
        from kdanalysis.losses import Blockwise, parse_loss
        from kdanalysis.pages.ladder import fitted_ladder, study_ladder

        base, where = parse_loss(loss), prepare(seed, device)
        blocks = parse_names(student_blocks), parse_names(teacher_blocks)
        splits = load_data(data, image_size=image_size, seed=seed, limit=limit)
        fitted = min(fit_images, len(splits.train))
        shuffled = splits.train.batches(batch_size, shuffle=True, seed=seed)
        fit = batches(shuffled, fitted, where, "Fitting")
        look = batches(splits.valid.batches(batch_size), len(splits.valid), where, "Climbing")
        made, r2 = fitted_ladder(student, teacher, splits, fit, *blocks, strength, where)
        whole = Blockwise(base, made.blocks)
        tables = study_ladder(made, whole, look, r2, temperature)
        facts = {
            "student": f"{student}: {', '.join(made.student_blocks)}",
            "teacher": f"{teacher}: {', '.join(made.teacher_blocks)}",
            "data": splits.name,
            "images of the fit": f"{fitted:,}",
            "strength of the ridge regression": strength,
            "validation images": f"{len(splits.valid):,}",
            "loss of the gradients": repr(whole),
        }
        show(tables, facts, folder)


def show(tables: dict, facts: dict, folder: Path | None) -> None:
    """Print the ladder, and fill the folder where there is one."""
    from kdanalysis.cli.terminal import print_frame

    title = f"{facts['validation images']} validation images of {facts['data']}"
    hidden = ["k", "temperature", "related", "n", "non_finite"]
    print_frame(tables["ladder"].drop(columns=hidden), title=title)
    if folder is not None:
        import matplotlib as mpl

        mpl.use("Agg")
        from kdanalysis.pages.ladder import ladder_page
        from kdanalysis.pages.page import write_folder

        write_folder(ladder_page("A ladder of stepping stones", facts, tables), folder)


def batches(
    found: Iterable[tuple], most: int, device: "torch.device", label: str
) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """Yield the first images with their labels, on a device, under a progress bar."""
    from kdanalysis.cli.progress import progress

    with progress(label, most) as advance:
        for x, y, _ in found:
            yield x[:most].to(device), y[:most].to(device)
            advance(len(y[:most]))
            most -= len(y)
            if most <= 0:
                return
