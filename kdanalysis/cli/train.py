"""``kdanalysis train``: a teacher and students on the user's images, captured and analysed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.options import (
    Device,
    Figures,
    Overwrite,
    Seed,
    parse_names,
    parse_scales,
    prepare,
)

if TYPE_CHECKING:
    from kdanalysis.training import Stones


def train(
    data: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Images: a folder of class folders, Parquet, CIFAR batches, glyphs or digits.",
        ),
    ],
    teacher: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="A network, trained first; or a checkpoint.")
    ],
    student: Annotated[str, typer.Option(metavar="NAME", help="Network of the students.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of results.")],
    loss: Annotated[
        list[str], typer.Option(metavar="LOSS", help="Such as gdkd:k=5,temperature=4; repeatable.")
    ],
    epochs: Annotated[int, typer.Option(help="Of every student.")] = 12,
    teacher_epochs: Annotated[
        int | None, typer.Option(help="Of the teacher; the students' number if not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="At the start.")] = 0.05,
    schedule: Annotated[str, typer.Option(help="cosine, or step: tenfold down three times.")] = (
        "cosine"
    ),
    warmup: Annotated[
        float | None, typer.Option(help="Epochs of linear ramp; a twelfth of all if not given.")
    ] = None,
    augment: Annotated[bool, typer.Option(help="Random crops and mirror images.")] = True,
    crops: Annotated[
        bool, typer.Option(help="Whether these crop; if not, they mirror alone.")
    ] = True,
    amp: Annotated[bool, typer.Option("--amp", help="Mixed precision.")] = False,
    record_every: Annotated[int, typer.Option(help="Steps between captured steps.")] = 50,
    record_rows: Annotated[
        int | None, typer.Option(help="Most samples captured of a step; all if not given.")
    ] = None,
    record_layers: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Layers of the student for the terms' gradients: logits,layer1,layer3.*,fc.",
        ),
    ] = "",
    record_regions: Annotated[
        int | None,
        typer.Option(help="Samples of a captured step whose regions are kept; none if not given."),
    ] = None,
    region_scales: Annotated[
        str, typer.Option(metavar="M,M,...", help="Of these regions; SDD's own with that loss.")
    ] = "1,2,4",
    method: Annotated[
        str, typer.Option(metavar="logits|blocks", help="blocks: with stepping stones.")
    ] = "logits",
    student_blocks: Annotated[
        str, typer.Option(metavar="NAME,NAME,...", help="Of stones; all if not given.")
    ] = "",
    teacher_blocks: Annotated[str, typer.Option(metavar="NAME,NAME,...", help="As many.")] = "",
    light: Annotated[bool, typer.Option("--light", help="The deeper half of the stones.")] = False,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels to bring all to.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most training images.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="N|NAME,...", help="The first so many classes, or these alone."),
    ] = None,
    cache_teacher: Annotated[
        bool,
        typer.Option(
            "--cache-teacher",
            help="Run the teacher once for all images and their mirror images; with --no-crops.",
        ),
    ] = False,
    figures: Figures = "",
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted training stopped.")
    ] = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train a teacher and a student a loss, and write the page of what each loss taught.

    Results: teacher.html, the teacher's card, before the students are trained; then report.html,
    tables, teacher.pt, students/LOSS.pt, the captured runs in runs/LOSS and validation logits in
    logits/LOSS.npz.

    Example: kdanalysis train --data images/ --teacher resnet32x4 --student resnet8x4
    --loss kd --loss gdkd:k=5,temperature=4 --epochs 30 --out results

    With --method blocks every loss is the base of block-wise logit distillation.
    """
    from kdanalysis.cli.experiment import check_target, conduct
    from kdanalysis.data import load_data
    from kdanalysis.training import Experiment, Settings

    check_target(out, overwrite, resume)
    stones = read_stones(method, student_blocks, teacher_blocks, light)
    settings = Settings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        warmup=warmup,
        augment=augment,
        crops=crops,
        amp=amp,
        record_every=record_every,
        record_rows=record_rows,
        record_layers=tuple(name.strip() for name in record_layers.split(",") if name.strip()),
        record_regions=record_regions,
        region_scales=parse_scales(region_scales),
        seed=seed,
    )
    where = prepare(seed, device)
    chosen = read_classes(classes)
    splits = load_data(data, image_size=image_size, seed=seed, limit=limit, classes=chosen)
    cache = out / "cache" if cache_teacher else None
    conduct(
        Experiment(splits, teacher, student, loss, settings, teacher_epochs, stones, cache),
        out,
        where,
        overwrite=overwrite,
        resume=resume,
        figures=figures,
    )


def read_classes(text: str | None) -> int | tuple[str, ...] | None:
    """Return --classes as a number or as names; None where it is not given."""
    if text is None or not text.strip().isdecimal():
        return None if text is None else parse_names(text)
    return int(text)


def read_stones(method: str, student: str, teacher: str, light: bool) -> "Stones | None":
    """Return how students learn with stepping stones; None for --method logits.

    Raises:
        ValueError: an unknown method, or blocks without the method that has them.
    """
    from kdanalysis.training import Stones

    if method not in ("logits", "blocks"):
        raise ValueError(f"--method is logits or blocks, got {method!r}")
    if method == "blocks":
        return Stones(parse_names(student), parse_names(teacher), light)
    if student or teacher or light:
        raise ValueError("blocks and --light belong to --method blocks: give that too")
    return None
