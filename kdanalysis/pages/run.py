"""The page of runs: what their losses taught, noun by noun, run beside run."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from kdanalysis.losses import spelled
from kdanalysis.pages.by_run import of_equal, section_of_runs
from kdanalysis.pages.explorer import Explorer
from kdanalysis.pages.groups import arranged
from kdanalysis.pages.html import Section
from kdanalysis.pages.lead import lead_of
from kdanalysis.pages.nouns import with_conflict
from kdanalysis.pages.reading import read_all
from kdanalysis.pages.study import Study, Tables
from kdanalysis.pages.teacher import card_section
from kdanalysis.studies.compute import Watch, by_noun, unwatched
from kdanalysis.studies.facts import kept_facts, repeated_in, source_facts, stated
from kdanalysis.studies.opening import check_classes
from kdanalysis.studies.pairing import doubt
from kdanalysis.studies.run import Run, tables_of
from kdanalysis.studies.source import Source

EVERY = "Over all captured samples of all steps."


def report(runs: Mapping[str, Run], device: Any = "cpu", watch: Watch = unwatched) -> Study:
    """Read every run once and return the study of all tables its columns allow.

    Args:
        runs: open runs by the name that readers see.
        device: where to compute.
        watch: wraps the batches of a run, for a progress bar.

    Raises:
        ValueError: no runs, one without samples, or runs of unequal numbers of classes.
    """
    sources = {name: Source(name, None, run) for name, run in runs.items()}
    if sources:
        check_classes(sources.values())

    def tables_of_run(source: Source, watch: Watch) -> dict[str, pd.DataFrame]:
        return run_tables(source, device, watch)

    tables, explorer = read_all(sources, tables_of_run, None, device, watch, EVERY)
    return run_study(sources, tables, explorer)


def run_study(
    sources: Mapping[str, Source],
    tables: Mapping[str, Mapping[str, pd.DataFrame]],
    explorer: Explorer | None = None,
) -> Study:
    """Return the study of the tables of runs.

    Args:
        sources: by the name that readers see.
        tables: by name, then by noun.
        explorer: of the same runs; without one the page has none.

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
        source_facts(first)
        | stated({"loss": spelled(first.info.loss), "likely wrong": doubt(first)})
        if alone
        else {n: _run_fact(s) for n, s in sources.items()}
        | stated({"repeated samples": repeated_in(sources)}),
        parts,
        lambda: run_sections(parts, first.info.classes),
        first.info.classes,
        lead=lambda: lead_of(parts, explorer, runs=[] if alone else list(sources)),
        explorer=explorer,
    )


def _run_fact(source: Source) -> str:
    """Return the loss of one of several runs, and what was kept of its rows where not all was."""
    return "; ".join(
        filter(None, (spelled(source.info.loss), *kept_facts(source.info).values(), doubt(source)))
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
    """Return the teacher cards, equal ones once, then one section a noun that holds all runs.

    Args:
        parts: by noun, then by run.
        classes: a name for every class.
    """
    cards = [
        card_section(card, ", ".join(runs), place)
        for place, (runs, card) in enumerate(of_equal(parts.get("teacher", {})), start=1)
    ]
    rest = {noun: tables for noun, tables in parts.items() if noun != "teacher"}
    found = [section_of_runs(n, t, classes) for n, t in with_conflict(rest).items()]
    return arranged([*cards, *found])
