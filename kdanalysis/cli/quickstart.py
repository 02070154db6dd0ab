"""``kdanalysis quickstart``: the whole path on drawn letters, in a minute or two on two cores."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kdanalysis.cli.groups import Machine, grouped
from kdanalysis.cli.options import Figures, Overwrite


@grouped
def quickstart(
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of results.")
    ] = Path("quickstart"),
    data: Annotated[
        str, typer.Option(metavar="PATH", help="Images to train on, as for train.")
    ] = "glyphs",
    figures: Figures = "svg",
    overwrite: Overwrite = False,
    machine: Machine,
) -> None:
    """Train a small teacher and a student each with KD, DKD and GDKD, and show what they teach.

    Letters and digits are drawn on demand, so nothing is downloaded. Open DIR/teacher.html while
    the students are trained, and DIR/report.html after.

    Example: kdanalysis quickstart --out quickstart
    """
    from kdanalysis.cli.experiment import check_target, conduct
    from kdanalysis.core.cores import beside, one_thread
    from kdanalysis.data import load_data

    out = out.expanduser()
    check_target(out, overwrite, resume=False, can_resume=False)
    where, seed = machine.prepare(), machine.seed
    with one_thread():
        splits = beside(partial(load_data, data, image_size=16, seed=seed, limit=7_440), load)

    from kdanalysis.training import Experiment, Settings

    settings = Settings(
        epochs=3,
        learning_rate=0.2,
        schedule="onecycle",
        augment=False,
        record_every=20,
        record_layers=("logits", "layer3", "fc"),
        seed=seed,
    )
    networks, losses = ("resnet14", "resnet8"), ("kd", "dkd", "gdkd")
    cache = out / "cache"  # every epoch shows the same images
    experiment = Experiment(splits, *networks, losses, settings, teacher_epochs=4, cache=cache)
    conduct(experiment, out, where, overwrite=overwrite, can_resume=False, figures=figures)


def load() -> None:
    """Load what trains, which torch and the compiled loops do where they are first asked for."""
    import torch

    from kdanalysis.losses import parse_loss
    from kdanalysis.training import Settings

    torch.optim.SGD([torch.zeros(1)], lr=Settings.learning_rate)
    logits = torch.arange(8.0).unsqueeze(0)
    parse_loss("dkd")(logits, logits, torch.tensor([0]))
