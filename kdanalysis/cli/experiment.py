"""What ``train`` and ``quickstart`` share: an experiment from start to page."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kdanalysis.cli.output import check_folder

if TYPE_CHECKING:
    import torch

    from kdanalysis.training import Experiment

PLAN = "train.json"


def check_target(out: Path, overwrite: bool, resume: bool) -> None:
    """Refuse a folder that is in use, before anything is loaded.

    Raises:
        FileExistsError: it is in use, and neither to be replaced nor to be resumed.
        ValueError: to be replaced and resumed at once, or no training to resume.
    """
    if overwrite and resume:
        raise ValueError("--overwrite starts anew and --resume goes on: give one of them")
    if resume and not (out / PLAN).is_file():
        raise ValueError(f"{out} holds no training to resume: leave --resume out to start one")
    if not resume:
        if out.is_dir() and (out / PLAN).is_file() and not overwrite:
            raise FileExistsError(
                f"{out} holds a training already: give another folder, --resume to go on with it, "
                "or --overwrite to replace it"
            )
        check_folder(out, overwrite)


def conduct(
    experiment: "Experiment",
    out: Path,
    device: "torch.device",
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> None:
    """Train, analyse and write everything into ``out``; an interrupted training can be resumed."""
    from kdanalysis.cli.progress import progress
    from kdanalysis.cli.terminal import print_frame
    from kdanalysis.training import run_experiment

    if overwrite and out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    plan = describe(experiment)
    (out / PLAN).write_text(json.dumps(plan, indent=2), encoding="utf-8")
    outcome = run_experiment(
        experiment,
        out,
        device,
        resume=resume,
        progress=lambda label, total: progress(label, total, "images"),
    )
    write_page(outcome, plan, out, device)
    print_frame(outcome.students, title="Validation images")
    typer.echo(f"wrote {out}: open {out / 'report.html'}")


def write_page(outcome, plan: dict, out: Path, device: "torch.device") -> None:
    """Write report.html, tables and figures, all of them or none."""
    import matplotlib as mpl

    mpl.use("Agg")
    from kdanalysis.cli.progress import track
    from kdanalysis.cli.report import rows
    from kdanalysis.pages.experiment import experiment_page
    from kdanalysis.pages.facts import stated
    from kdanalysis.pages.page import write_folder

    page = experiment_page(
        f"What {', '.join(outcome.runs)} teach",
        stated(plan),
        outcome.students,
        outcome.logits["teacher"],
        outcome.runs,
        device,
        lambda batches: track(batches, "Analysing", None, rows),
    )
    with tempfile.TemporaryDirectory(prefix=".page.", dir=out) as building:
        write_folder(page, Path(building))
        for part in sorted(Path(building).iterdir()):
            old = out / part.name
            if old.is_dir():
                shutil.rmtree(old)
            part.replace(old)


def describe(experiment: "Experiment") -> dict[str, object]:
    """Return what is trained on what, as plain JSON values."""
    data, settings = experiment.data, experiment.settings
    return {
        "data": data.name,
        "classes": len(data.classes),
        "training images": len(data.train),
        "validation images": len(data.valid),
        "image size": "x".join(map(str, data.train.image_shape[1:])),
        "teacher": experiment.teacher,
        "teacher epochs": experiment.teacher_epochs or settings.epochs,
        "student": experiment.student,
        "losses": ", ".join(f"ce + {text}" for text in experiment.losses),
        **{name.replace("_", " "): value for name, value in settings.to_json().items()},
    }
