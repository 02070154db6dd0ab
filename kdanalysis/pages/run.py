"""The page of runs: what their losses taught, noun by noun, run beside run."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kdanalysis.pages.facts import run_facts
from kdanalysis.pages.html import Section
from kdanalysis.pages.layers import with_conflict
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.page import Page
from kdanalysis.pages.teacher import MOST_CLASSES, card_section
from kdanalysis.studies.run import Run
from kdanalysis.studies.stream import needed_columns
from kdanalysis.studies.tables import TABLES, analyzer

BY_PAIR = ("profile", "modality", "discrepancy")  # rows for every pair of classes
Watch = Callable[[Iterable[Mapping]], Iterable[Mapping]]


def run_page(runs: Mapping[str, Run], device: Any = "cpu", watch: Watch = iter) -> Page:
    """Read every run once and return the page of all tables its columns allow.

    Args:
        runs: open runs by the name that readers see.
        device: where to compute.
        watch: wraps the batches of a run, for a progress bar.

    Raises:
        ValueError: no runs, or one without samples.
    """
    if not runs:
        raise ValueError("a page needs at least one run, got none")
    tables = {name: run_tables(run, device, watch) for name, run in runs.items()}
    first = next(iter(runs.values()))
    title = f"Distillation run {next(iter(runs))}" if len(runs) == 1 else "Distillation runs"
    facts = run_facts(first) if len(runs) == 1 else {n: r.info.loss for n, r in runs.items()}
    return Page(title, facts, run_sections(tables, first.info.classes), by_file(tables))


def run_tables(run: Run, device: Any = "cpu", watch: Watch = iter) -> dict[str, pd.DataFrame]:
    """Compute every table that the columns of the run allow, in one pass.

    Of more than 200 classes those with a row for every pair of classes are left out.

    Raises:
        ValueError: the run holds no samples.
    """
    if not run.num_rows:
        raise ValueError(f"{run.path} holds no readable samples: there is nothing to report")
    wanted = [t for t in TABLES if t not in BY_PAIR or run.info.num_classes <= MOST_CLASSES]
    makers = {name: analyzer(name, run.info, run.steps().tolist()) for name in wanted}
    there = set(run.columns)
    names = [name for name, one in makers.items() if needed_columns(one)[0] <= there]
    return run.tables([*names, *run.layer_tables, *run.region_tables], device, watch)


def run_sections(
    tables: Mapping[str, Mapping[str, pd.DataFrame]], classes: list[str] | None = None
) -> list[Section]:
    """Return the teacher cards, then one section a noun that holds all runs.

    Args:
        tables: by run, then by noun.
        classes: a name for every class.
    """
    alone = len(tables) == 1
    cards = [
        card_section(of_run["teacher"], "" if alone else run, place)
        for place, (run, of_run) in enumerate(tables.items(), start=1)
        if "teacher" in of_run
    ]
    nouns = dict.fromkeys(noun for of_run in tables.values() for noun in of_run)
    shown = {"" if alone else run: of_run for run, of_run in tables.items()}
    rest = with_conflict([noun for noun in nouns if noun != "teacher"], shown)
    return [*cards, *(noun_section(noun, of_noun, classes) for noun, of_noun in rest.items())]


def by_file(tables: Mapping[str, Mapping[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Return the tables by file name: the noun, and with several runs a column ``run``."""
    if len(tables) == 1:
        return dict(next(iter(tables.values())))
    nouns = dict.fromkeys(noun for of_run in tables.values() for noun in of_run)
    return {
        noun: pd.concat(
            [of_run[noun].assign(run=run) for run, of_run in tables.items() if noun in of_run],
            ignore_index=True,
        )
        for noun in nouns
    }


def short_names(paths: Iterable[Path]) -> dict[str, Path]:
    """Name runs by their folder, or by their whole path where two folders share a name.

    Raises:
        ValueError: one of them is given twice.
    """
    paths = list(paths)
    whole = [path.resolve() for path in paths]
    if twice := [path for path in paths if whole.count(path.resolve()) > 1]:
        raise ValueError(f"{twice[0]} is given twice: every run or file must be another one")
    last = [path.name for path in whole]
    return {
        path.name if last.count(path.name) == 1 else str(given): given
        for path, given in zip(whole, paths, strict=True)
    }
