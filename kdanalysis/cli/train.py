"""``kdanalysis train``: a teacher and students on the user's images, captured and analysed."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.groups import Blocks, Images, Machine, grouped
from kdanalysis.cli.options import IMAGES, Figures, Overwrite, parse_names, parse_scales

if TYPE_CHECKING:
    from kdanalysis.training import Settings, Stones


@dataclass(frozen=True)
class Training:
    """How a student is trained, and what is captured: options of the names of ``Settings``."""

    epochs: Annotated[int, typer.Option(help="Of every student.")] = 12
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64
    learning_rate: Annotated[float, typer.Option(help="The largest.")] = 0.05
    schedule: Annotated[
        str, typer.Option(help="cosine, onecycle, or step: tenfold down three times.")
    ] = "cosine"
    warmup: Annotated[
        float | None, typer.Option(help="Epochs of linear ramp; a twelfth of all if not given.")
    ] = None
    augment: Annotated[bool, typer.Option(help="Random crops and mirror images.")] = True
    crops: Annotated[bool, typer.Option(help="Whether these crop; if not, they mirror alone.")] = (
        True
    )
    amp: Annotated[bool, typer.Option("--amp", help="Mixed precision.")] = False
    record_every: Annotated[int, typer.Option(help="Steps between captured steps.")] = 50
    record_rows: Annotated[
        int | None, typer.Option(help="Most samples captured of a step; all if not given.")
    ] = None
    record_layers: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Layers of the student for the terms' gradients: logits,layer*,fc.",
        ),
    ] = ""
    record_regions: Annotated[
        int | None,
        typer.Option(help="Samples of a captured step whose regions are kept; none if not given."),
    ] = None
    region_scales: Annotated[
        str, typer.Option(metavar="M,M,...", help="Of these regions; SDD's own with that loss.")
    ] = "1,2,4"

    def settings(self, seed: int) -> "Settings":
        """Return what is trained with.

        Raises:
            ValueError: scales that cannot be read, or as ``Settings``.
        """
        from kdanalysis.training import Settings

        read = {
            "record_layers": parse_names(self.record_layers) or (),
            "region_scales": parse_scales(self.region_scales),
        }
        return Settings(**asdict(self) | read, seed=seed)


@grouped
def train(
    data: Annotated[str, IMAGES],
    teacher: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="A network, trained first; or a checkpoint.")
    ],
    student: Annotated[str, typer.Option(metavar="NAME", help="Network of the students.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of results.")],
    loss: Annotated[
        list[str], typer.Option(metavar="LOSS", help="Such as kd or gdkd:k=5; repeatable.")
    ],
    *,
    training: Training,
    teacher_epochs: Annotated[
        int | None, typer.Option(help="Of the teacher; the students' number if not given.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="logits|blocks", help="blocks: with stepping stones.")
    ] = "logits",
    blocks: Blocks,
    light: Annotated[bool, typer.Option("--light", help="The deeper half of the stones.")] = False,
    images: Images,
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
    machine: Machine,
) -> None:
    """Train a teacher and a student a loss, and write the page of what each loss taught.

    Results: teacher.html, the teacher's card, before the students are trained; then report.html,
    tables, teacher.pt, students/LOSS.pt, the captured runs in runs/LOSS and validation logits in
    logits/LOSS.npz. With --method blocks every loss is the base of block-wise logit distillation.

    Example: kdanalysis train --data images/ --teacher resnet32x4 --student resnet8x4
    --loss kd --loss gdkd:k=5,temperature=4 --epochs 30 --out results
    """
    from kdanalysis.cli.experiment import check_target, conduct
    from kdanalysis.training import Experiment, check_names

    out = out.expanduser()
    check_target(out, overwrite, resume)
    check_names(teacher, student, loss)
    stones, settings = read_stones(method, blocks, light), training.settings(machine.seed)
    device = machine.prepare()
    splits = images.load(data, machine.seed, read_classes(classes))
    cache = out / "cache" if cache_teacher else None
    experiment = Experiment(splits, teacher, student, loss, settings, teacher_epochs, stones, cache)
    conduct(experiment, out, device, overwrite=overwrite, resume=resume, figures=figures)


def read_classes(text: str | None) -> int | tuple[str, ...] | None:
    """Return --classes as a number or as names; None where it is not given."""
    if text is None:
        return None
    return int(text) if text.strip().isdecimal() else parse_names(text)


def read_stones(method: str, blocks: Blocks, light: bool) -> "Stones | None":
    """Return how students learn with stepping stones; None for --method logits.

    Raises:
        ValueError: an unknown method, or blocks without the method that has them.
    """
    from kdanalysis.training import Stones

    if method not in ("logits", "blocks"):
        raise ValueError(f"--method is logits or blocks, got {method!r}")
    if method == "blocks":
        return Stones(*blocks.names, light)
    if any(blocks.names) or light:
        raise ValueError("blocks and --light belong to --method blocks: give that too")
    return None
