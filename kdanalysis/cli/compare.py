"""``kdanalysis compare``: loss against loss on the same logits, or run against run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.options import Device, Out, Overwrite, Seed, prepare
from kdanalysis.core.ranks import RANKS

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from kdanalysis.pages.page import Page
    from kdanalysis.studies.source import Source


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE|RUN...", help="Logits of students and teachers, or runs."),
    ],
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
    out: Out = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Compare losses on the same logits with --losses, or runs (and students) without.

    With losses: cosines of their gradients and how far each steps, term by term; the first one is
    what the others are held against. With runs: every table of each, in one, over the steps.

    Example: kdanalysis compare logits.npz --losses kd,dkd,gdkd:k=5 --match-norm --out compared

    Example: kdanalysis compare runs/kd runs/gdkd --out compared
    """
    check_request(paths, losses, match_norm)
    from kdanalysis.cli.output import card_folder

    with card_folder(out, overwrite) as folder:
        where = prepare(seed, device)
        carry_out(paths, losses, match_norm, temperature, where, folder)


def check_request(paths: list[Path], losses: list[str] | None, match_norm: bool) -> None:
    """Raise a ValueError where there is nothing to compare."""
    if losses is None and match_norm:
        raise ValueError("--match-norm matches the norms of losses: name them with --losses")
    if losses is None and len(paths) < 2:
        raise ValueError(
            f"{paths[0]} alone has nothing to be compared with: give --losses kd,dkd,... to "
            "compare losses on it, or another run or file"
        )


def carry_out(
    paths: list[Path],
    losses: list[str] | None,
    match_norm: bool,
    temperature: float | None,
    device: "torch.device",
    folder: Path | None,
) -> None:
    """Read every path once, print the summary, and fill the folder where there is one."""
    from kdanalysis.cli.terminal import warn_of_skipped

    for path in paths if RANKS.first else []:
        warn_of_skipped(path)
    if losses is None:
        compare_runs(paths, temperature, device, folder)
    else:
        compare_losses(paths, losses, match_norm, temperature, device, folder)


def compare_losses(
    paths: list[Path],
    texts: list[str],
    match_norm: bool,
    temperature: float | None,
    device: "torch.device",
    folder: Path | None,
) -> None:
    """Compare losses on every path."""
    from kdanalysis.cli.terminal import print_frame
    from kdanalysis.losses import parse_losses
    from kdanalysis.pages.compare import MOST_STEPS, loss_page, study_losses
    from kdanalysis.pages.norms import matching_sentence, summary
    from kdanalysis.studies.source import open_sources

    losses = parse_losses(texts, temperature)
    if len(losses) < 2:
        raise ValueError(
            f"--losses names {next(iter(losses))} alone: give at least two, such as kd,dkd,gdkd"
        )
    sources = open_sources(paths, MOST_STEPS)
    tables = {
        name: study_losses(source, losses, device, watch(source))
        for name, source in sources.items()
    }
    if not RANKS.first:
        return
    for name, source in sources.items():
        frame = summary(tables[name], losses, match_norm)
        title = f"{name}: {source.logits.num_rows:,} samples, {source.info.num_classes} classes"
        print_frame(frame, title=title + left_out(tables[name]["direction"]))
        if match_norm:
            typer.echo(matching_sentence(frame))
    if folder is not None:
        write(loss_page(sources, tables, losses, match_norm), folder)


def compare_runs(
    paths: list[Path],
    temperature: float | None,
    device: "torch.device",
    folder: Path | None,
) -> None:
    """Compare runs, or the students of several files."""
    from kdanalysis.cli.terminal import print_frame
    from kdanalysis.pages.compare_runs import (
        overview,
        overview_sentence,
        runs_page,
        settings_of,
        study_runs,
    )
    from kdanalysis.studies.run import MOST_STEPS
    from kdanalysis.studies.source import open_sources

    sources = open_sources(paths, MOST_STEPS)
    settings = settings_of(sources, temperature)
    tables = {
        name: study_runs(source, settings, device, watch(source))
        for name, source in sources.items()
    }
    if not RANKS.first:
        return
    frame = overview(sources, tables)
    title = f"{len(sources)} students, {next(iter(sources.values())).info.num_classes} classes"
    print_frame(frame, title=title)
    for name, of_one in tables.items():
        if note := left_out(of_one["agreement"]):
            typer.echo(f"{name}: {sources[name].logits.num_rows:,} samples{note}")
    typer.echo(overview_sentence(frame))
    if folder is not None:
        write(runs_page(sources, tables, settings), folder)


def left_out(table: "pd.DataFrame") -> str:
    """Return how many samples had NaN or inf, as a clause for a title; nothing where none had."""
    count = int(table.non_finite.max())
    return f", {count:,} of them with NaN or inf and left out" if count else ""


def watch(source: "Source") -> Callable:
    """Return what draws the progress of reading a source."""
    from kdanalysis.cli.progress import track

    return lambda batches: track(
        batches,
        f"Reading {source.name}",
        len(RANKS.share(source.logits.num_rows)),
        lambda batch: len(batch["student_logits"]),
    )


def write(page: "Page", folder: Path) -> None:
    """Fill the folder with the page and what belongs to it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from kdanalysis.pages.page import write_folder

    write_folder(page, folder)
