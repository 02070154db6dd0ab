"""``kdanalysis compare``: loss against loss on the same logits, or run against run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.groups import Machine, Output, grouped
from kdanalysis.cli.options import Keys, Vocabulary, parse_keys
from kdanalysis.core.ranks import RANKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from kdanalysis.pages.study import Study
    from kdanalysis.studies.source import Source


@grouped
def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE|RUN...", help="Logits of students and teachers, or runs."),
    ],
    *,
    losses: Annotated[
        list[str] | None,
        typer.Option(
            "--losses",
            metavar="LOSS,LOSS,...",
            help="Hold these against each other on every file: kd,dkd,gdkd:k=5,temperature=2.",
        ),
    ] = None,
    match_norm: Annotated[
        bool,
        typer.Option(
            "--match-norm",
            help="Give the factors that make every loss step as far as "
            "the first, and show the terms with them.",
        ),
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="T", help="Of every loss that names none of its own."),
    ] = None,
    keys: Keys = None,
    vocabulary: Vocabulary = None,
    output: Output,
    machine: Machine,
) -> None:
    """Compare losses on the same logits with --losses, or runs (and students) without.

    With losses: cosines of their gradients and how far each steps, term by term; the first one is
    what the others are held against. With runs: every table of each, in one, over the steps.

    Example: kdanalysis compare logits.npz --losses kd,dkd,gdkd:k=5 --match-norm --out compared

    Example: kdanalysis compare runs/kd runs/gdkd --out compared
    """
    check_request(paths, losses, match_norm)
    names = parse_keys(keys)
    with output.page() as write:
        study = study_of(
            paths, names, losses, match_norm, temperature, machine.prepare(), vocabulary
        )
        if study is not None:
            write(study)


def check_request(paths: list[Path], losses: list[str] | None, match_norm: bool) -> None:
    """Raise a ValueError where there is nothing to compare."""
    if losses is None and match_norm:
        raise ValueError("--match-norm matches the norms of losses: name them with --losses")
    if losses is None and len(paths) < 2:
        raise ValueError(
            f"{paths[0]} alone has nothing to be compared with: give --losses kd,dkd,... to "
            "compare losses on it, or another run or file"
        )


def study_of(
    paths: list[Path],
    keys: dict[str, str],
    losses: list[str] | None,
    match_norm: bool,
    temperature: float | None,
    device: "torch.device",
    vocabulary: int | None = None,
) -> "Study | None":
    """Read every path once, print the summary and return the study; None in the other ranks."""
    from kdanalysis.cli.progress import watching
    from kdanalysis.cli.terminal import warn_of_skipped
    from kdanalysis.losses import parse_losses
    from kdanalysis.pages.compare import compare as hold_against
    from kdanalysis.pages.compare import open_all

    found = None if losses is None else parse_losses(losses, temperature)
    if found is not None and len(found) < 2:
        raise ValueError(
            f"--losses names {next(iter(found))} alone: give at least two, such as kd,dkd,gdkd"
        )
    sources = open_all(paths, found, keys, vocabulary)
    for source in sources.values():
        warn_of_skipped(source.run)
    study = hold_against(sources, found, match_norm, temperature, device, watching("Reading {}"))
    if not RANKS.first:
        return None
    print_runs(study, sources) if found is None else print_losses(study, sources, match_norm)
    return study


def print_losses(study: "Study", sources: "Mapping[str, Source]", match_norm: bool) -> None:
    """Print how far each loss steps on every source, and where it points."""
    from kdanalysis.analyzers.terms.matching import matching_sentence
    from kdanalysis.cli.terminal import heading, print_frame
    from kdanalysis.studies.compute import left_out, without_label

    for name, frame in study.parts["losses"].items():
        more = without_label(sources[name]) + left_out(study.parts["direction"][name])
        print_frame(frame, title=heading(sources[name], name, more))
        if match_norm:
            typer.echo(matching_sentence(frame))
    if unequal := study.facts.get("temperatures"):
        typer.echo(f"Temperatures are {unequal}.")


def print_runs(study: "Study", sources: "Mapping[str, Source]") -> None:
    """Print how often every student agrees with its teacher and is right."""
    from kdanalysis.cli.terminal import print_frame
    from kdanalysis.core.wording import counted
    from kdanalysis.pages.compare_runs import overview_sentence
    from kdanalysis.studies.compute import left_out

    frame = study.tables["runs"]
    classes = next(iter(sources.values())).info.num_classes
    print_frame(frame, title=f"{len(sources)} students, {classes} classes")
    for name, table in study.parts["agreement"].items():
        if note := left_out(table):
            typer.echo(f"{name}: {counted(sources[name].num_rows, 'sample')}{note}")
    typer.echo(overview_sentence(frame))
    if silent := study.facts.get("no gradient"):
        typer.echo(f"No gradient {silent}.")
