"""What ``train`` and ``quickstart`` share: an experiment from start to page."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kdanalysis.core.disk import naming
from kdanalysis.core.ranks import RANKS
from kdanalysis.core.wording import differing
from kdanalysis.pages.publish import CARD, check_folder, place_beside
from kdanalysis.store.files import refuse_link

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from kdanalysis.pages.study import Study
    from kdanalysis.training import Experiment

PLAN = "train.json"
TEACHER = "teacher.html"  # the teacher's card, there before the students are trained
OURS = (*CARD, TEACHER, PLAN, "runs", "logits", "students", "teacher.pt", "cache")  # of a training


def check_target(out: Path, overwrite: bool, resume: bool, can_resume: bool = True) -> None:
    """Refuse a folder that is in use, before anything is loaded.

    Raises:
        FileExistsError: it is in use, and neither to be replaced nor to be resumed.
        ValueError: to be replaced and resumed at once, no training to resume, or a link in it.
    """
    if overwrite and resume:
        raise ValueError("--overwrite starts anew and --resume goes on: give one of them")
    if resume and not (out / PLAN).is_file():
        raise ValueError(f"{out} holds no training to resume: leave --resume out to start one")
    if resume:
        for name in sorted(OURS):
            refuse_link(out / name)
        return
    if (out / PLAN).is_file() and not overwrite:
        go_on = "--resume to go on with it, " if can_resume else ""
        raise FileExistsError(
            f"{out} holds a training already: give another folder, {go_on}or --overwrite to "
            "replace it"
        )
    check_folder(out, overwrite, OURS, PLAN)


def conduct(
    experiment: "Experiment",
    out: Path,
    device: "torch.device",
    *,
    overwrite: bool = False,
    resume: bool = False,
    can_resume: bool = True,
    figures: str = "",
) -> None:
    """Train, analyse and write everything into ``out``; an interrupted training can be resumed.

    Where it is ended by a signal it says so, where the command ``can_resume``. The teacher's card
    is written as soon as the teacher stands. Of several ranks the first alone writes what is not
    captured, and prints; it writes the card with the page.

    Raises:
        ValueError: the training to resume was another one, the teacher lies in the folder that is
            to be replaced, or a rank does not see the folder.
    """
    from kdanalysis.cli.progress import progress
    from kdanalysis.cli.terminal import print_frame
    from kdanalysis.training import announce_regions, refuse_full_disk, run_experiment

    plan = experiment.fingerprint()
    RANKS.agree(f"images {plan['images']} and teacher weights {plan['teacher weights']}")
    if resume:
        check_plan(out, plan)
    elif RANKS.first:
        refuse_full_disk(experiment, out)
        start(experiment, plan, out)
    for line in announce_regions(experiment) if RANKS.first else []:
        typer.echo(line)
    RANKS.agree()
    if not (out / PLAN).is_file():
        raise ValueError(
            f"rank {RANKS.rank} does not see {out / PLAN}, which rank 0 wrote: several machines "
            "need a folder that they share"
        )
    cards: list[Study] = []
    card_of = partial(write_card, classes=experiment.data.classes, out=out, device=device)
    with RANKS.training(), saying_how_to_go_on(can_resume):
        outcome = run_experiment(
            experiment,
            out,
            device,
            resume=resume,
            progress=lambda label, total: progress(label, total, "images"),
            taught=lambda logits: cards.append(card_of(logits)) if RANKS.world == 1 else None,
        )
    RANKS.part()
    if not RANKS.first:
        return
    card = cards[0] if cards else card_of(outcome.logits["teacher"])
    write_page(outcome, card, plan, out, device, figures)
    print_frame(outcome.students, title="Validation images")
    typer.echo(f"wrote {out}: open {out / 'report.html'}")


@contextmanager
def saying_how_to_go_on(can_resume: bool) -> Iterator[None]:
    """Say on stderr, where Ctrl-C or another signal ends a training, what the next command is."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if can_resume and RANKS.first:
            typer.echo("whole epochs are kept: the same command with --resume goes on", err=True)
        raise


def start(experiment: "Experiment", plan: dict[str, object], out: Path) -> None:
    """Make the folder, in place of an old one; a ValueError where the teacher lies in that."""
    if out.exists():
        if Path(experiment.teacher).resolve().is_relative_to(out.resolve()):
            raise ValueError(
                f"the teacher {experiment.teacher} lies in {out}, which --overwrite would replace: "
                "give another folder"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    with naming(out / PLAN):
        (out / PLAN).write_text(json.dumps(plan, indent=2), encoding="utf-8")


def check_plan(out: Path, plan: dict[str, object]) -> None:
    """Raise a ValueError that names the first thing in which the training before was another."""
    before = json.loads((out / PLAN).read_text(encoding="utf-8"))
    for name, now in plan.items():
        if before.get(name) != now:
            was, new = differing(before.get(name), now)
            raise ValueError(f"{out} cannot be resumed: its {name} was {was}, now it is {new}")


def write_card(
    logits: Path, classes: "Sequence[str]", out: Path, device: "torch.device"
) -> "Study":
    """Write the page of the teacher alone, say where it is, and return its study."""
    from kdanalysis.pages.publish import output_file
    from kdanalysis.pages.teacher import diagnose
    from kdanalysis.studies.opening import open_source

    source = open_source(logits)
    source.info = replace(source.info, classes=list(classes))
    study = diagnose(source, device=device)
    with output_file(out / TEACHER, overwrite=True) as file:
        file.write_text(study.html(), encoding="utf-8")
    typer.echo(f"wrote the teacher's card: open {out / TEACHER}")
    return study


def write_page(
    outcome, card: "Study", plan: dict, out: Path, device: "torch.device", figures: str
) -> None:
    """Write report.html, tables and figures, all of them or none."""
    from kdanalysis.cli.progress import watching
    from kdanalysis.pages.experiment import experiment_study
    from kdanalysis.studies.facts import stated

    study = experiment_study(
        f"What {', '.join(outcome.runs)} teach",
        stated({name: plan[name] for name in plan if name not in ("images", "teacher weights")}),
        outcome.students,
        card,
        outcome.runs,
        {name: outcome.logits[name] for name in outcome.runs},
        device,
        watching("Analysing {}"),
        outcome.ladders,
    )
    with place_beside(out / CARD[0]) as place:
        building = place / "new"
        building.mkdir()
        study.write(building, figures)
        for name in CARD:
            if (old := out / name).is_dir():
                shutil.rmtree(old)
            if (part := Path(building) / name).exists():
                part.replace(old)
