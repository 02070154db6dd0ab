"""``kdanalysis regions``: what a teacher sees in the cells of images, and a student with it."""

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
    parse_scales,
    prepare,
)

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from kdanalysis.data import DataSplits
    from kdanalysis.losses import Loss

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
    from kdanalysis.cli.output import card_folder

    with card_folder(out, overwrite) as folder:
        from kdanalysis.losses import parse_loss

        settings = parse_loss(loss), chosen, batch_size
        where = prepare(seed, device)
        if network:
            from kdanalysis.data import load_data

            splits = load_data(data, image_size=image_size, seed=seed, limit=limit)
            show(*of_networks(teacher, student, splits, images, where, *settings), splits, folder)
        else:
            show(*of_file(teacher, *settings), None, folder)


def of_networks(
    teacher: Path,
    student: Path | None,
    splits: "DataSplits",
    images: int,
    device: "torch.device",
    loss: "Loss",
    scales: tuple[int, ...],
    batch_size: int,
) -> tuple[dict, dict]:
    """Return the tables of two checkpoints over the validation images, and the facts."""
    from kdanalysis.cli.progress import track
    from kdanalysis.pages.region_study import study_regions
    from kdanalysis.training.checkpoint import load_network

    networks = [
        None if path is None else load_network(path, splits.classes).to(device)
        for path in (teacher, student)
    ]
    count = len(splits.valid)
    tables = study_regions(
        splits,
        *networks,
        loss,
        scales,
        images,
        batch_size,
        lambda found: track(found, "Looking", count, lambda batch: len(batch[1])),
    )
    facts = {
        "teacher": str(teacher),
        "student": None if student is None else str(student),
        "data": splits.name,
        "validation images": f"{count:,}",
        "scales": ", ".join(map(str, scales)),
        "loss of a region": None if student is None else repr(loss),
    }
    return tables, facts


def of_file(
    path: Path, loss: "Loss", scales: tuple[int, ...], batch_size: int
) -> tuple[dict, dict]:
    """Return the tables of a file of region logits, and the facts."""
    from kdanalysis.cli.progress import track
    from kdanalysis.pages.region_study import study_file
    from kdanalysis.store import load_regions

    found = load_regions(path)
    tables = study_file(
        found,
        loss,
        scales,
        batch_size,
        lambda batches: track(batches, "Reading", found.num_rows, lambda b: len(b["target"])),
    )
    facts = {
        "regions": str(path),
        "images": f"{found.num_rows:,}",
        "classes": found.num_classes,
        "scales": ", ".join(map(str, scales)),
        "loss of a region": repr(loss) if "student_regions" in found.columns else None,
    }
    return tables, facts


def show(
    tables: dict[str, "pd.DataFrame"],
    facts: dict,
    splits: "DataSplits | None",
    folder: Path | None,
) -> None:
    """Print what the tables say, and fill the folder where there is one."""
    import matplotlib as mpl

    mpl.use("Agg")
    from kdanalysis.pages.page import close_figures, write_folder
    from kdanalysis.pages.region_study import regions_page

    page = regions_page("What is seen in the regions of images", facts, tables, splits)
    for section in page.sections:
        typer.echo(f"{section.title}: {section.text}\n")
    if folder is None:
        close_figures(page.sections)
    else:
        write_folder(page, folder)
