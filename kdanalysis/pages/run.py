"""The page of runs: what their losses taught, noun by noun, run beside run."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from kdanalysis.pages.html import Section
from kdanalysis.pages.nouns import noun_section, with_conflict
from kdanalysis.pages.study import Study, Tables
from kdanalysis.pages.teacher import card_section
from kdanalysis.studies.compute import Watch, by_noun, unwatched
from kdanalysis.studies.facts import source_facts
from kdanalysis.studies.run import Run, tables_of
from kdanalysis.studies.source import Source


def report(runs: Mapping[str, Run], device: Any = "cpu", watch: Watch = unwatched) -> Study:
    """Read every run once and return the study of all tables its columns allow.

    Args:
        runs: open runs by the name that readers see.
        device: where to compute.
        watch: wraps the batches of a run, for a progress bar.

    Raises:
        ValueError: no runs, or one without samples.
    """
    sources = {name: Source(name, None, run) for name, run in runs.items()}
    return run_study(sources, {n: run_tables(one, device, watch) for n, one in sources.items()})


def run_study(
    sources: Mapping[str, Source], tables: Mapping[str, Mapping[str, pd.DataFrame]]
) -> Study:
    """Return the study of the tables of runs.

    Args:
        sources: by the name that readers see.
        tables: by name, then by noun.

    Raises:
        ValueError: no runs.
    """
    if not sources:
        raise ValueError("a page needs at least one run, got none")
    alone = len(sources) == 1
    name, first = next(iter(sources.items()))
    parts = by_noun({"": tables[name]} if alone else tables)
    return Study(
        f"Distillation run {name}" if alone else "Distillation runs",
        source_facts(first) if alone else {n: s.info.loss for n, s in sources.items()},
        parts,
        lambda: run_sections(parts, first.info.classes),
        first.info.classes,
    )


def run_tables(
    source: Source, device: Any = "cpu", watch: Watch = unwatched
) -> dict[str, pd.DataFrame]:
    """Compute every table that the columns of a run allow, in one pass.

    Raises:
        ValueError: the run holds no samples.
    """
    if not source.num_rows:
        raise ValueError(f"{source.path} holds no readable samples: there is nothing to report")
    return tables_of(source, None, device, watch)


def run_sections(parts: Tables, classes: Sequence[str] | None = None) -> list[Section]:
    """Return the teacher cards, then one section a noun that holds all runs.

    Args:
        parts: by noun, then by run.
        classes: a name for every class.
    """
    cards = [
        card_section(card, run, place)
        for place, (run, card) in enumerate(parts.get("teacher", {}).items(), start=1)
    ]
    rest = {noun: tables for noun, tables in parts.items() if noun != "teacher"}
    return [*cards, *(noun_section(n, t, classes) for n, t in with_conflict(rest).items())]
