"""``kdanalysis regions``: what a teacher sees in the cells of images, and a student with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.options import Device, Overwrite, Seed, parse_scales, prepare

if TYPE_CHECKING:
    import pandas as pd

CHECKPOINT = "A checkpoint that kdanalysis train wrote."


def regions(
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER.pt", help=CHECKPOINT)],
    data: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Images: a folder of class folders, Parquet, CIFAR batches, glyphs or digits.",
        ),
    ],
    student: Annotated[
        Path | None, typer.Option(metavar="STUDENT.pt", help="Its student; also a checkpoint.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write tables, figures and a page here."),
    ] = None,
    scales: Annotated[
        str, typer.Option(metavar="M,M,...", help="m x m cells for each m, rising from 1.")
    ] = "1,2,4",
    loss: Annotated[str, typer.Option(metavar="LOSS", help="Of one region, such as dkd.")] = "kd",
    images: Annotated[int, typer.Option(help="How many to show with their cells.")] = 6,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels to bring all to.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most training images to load.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images looked at together.")] = 250,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Show what a teacher sees in the regions of the validation images, without training.

    With a student also what a loss on the regions (SDD) would teach it: loss and gradient of every
    case, cancellation, and whether the student says in a cell what its teacher says there.

    Example: kdanalysis regions results/teacher.pt --student results/students/kd.pt --data images/
    --out regions
    """
    chosen = parse_scales(scales)
    if images < 0:
        raise ValueError(f"--images {images}: need 0 or more")
    from kdanalysis.cli.output import card_folder

    with card_folder(out, overwrite) as folder:
        from kdanalysis.cli.progress import track
        from kdanalysis.data import load_data
        from kdanalysis.losses import parse_loss
        from kdanalysis.pages.region_study import study_regions
        from kdanalysis.training.checkpoint import load_network

        base, where = parse_loss(loss), prepare(seed, device)
        splits = load_data(data, image_size=image_size, seed=seed, limit=limit)
        networks = [
            None if path is None else load_network(path, splits.classes).to(where)
            for path in (teacher, student)
        ]
        tables = study_regions(
            splits,
            *networks,
            base,
            chosen,
            images,
            batch_size,
            lambda found: track(found, "Looking", len(splits.valid), lambda b: len(b[1])),
        )
        facts = {
            "teacher": str(teacher),
            "student": None if student is None else str(student),
            "data": splits.name,
            "validation images": f"{len(splits.valid):,}",
            "scales": ", ".join(map(str, chosen)),
            "loss of a region": None if student is None else repr(base),
        }
        show(tables, facts, splits, folder)


def show(tables: dict[str, "pd.DataFrame"], facts: dict, splits, folder: Path | None) -> None:
    """Print what the tables say, and fill the folder where there is one."""
    import matplotlib as mpl

    mpl.use("Agg")
    from kdanalysis.pages.page import close_figures, write_folder
    from kdanalysis.pages.region_study import regions_page

    page = regions_page("Regions of the validation images", facts, tables, splits)
    for section in page.sections:
        typer.echo(f"{section.title}: {section.text}\n")
    if folder is None:
        close_figures(page.sections)
    else:
        write_folder(page, folder)
