"""The page of runs held against each other: every quantity of each, in one picture."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdanalysis.analyzers.students import agreement_figure as agreement
from kdanalysis.pages import together
from kdanalysis.pages.facts import class_fact
from kdanalysis.pages.html import Section
from kdanalysis.pages.norms import Tables
from kdanalysis.pages.noun import as_figure
from kdanalysis.pages.nouns import NOUNS, joined, noun_section
from kdanalysis.pages.page import Page
from kdanalysis.pages.run import BY_PAIR, by_file
from kdanalysis.pages.teacher import MOST_CLASSES
from kdanalysis.studies.source import Source, Watch, study
from kdanalysis.studies.tables import analyzer, common_settings

Drawing = Callable[[pd.DataFrame], Axes | Figure]
COMPARED: dict[str, tuple[tuple[str, Drawing], ...]] = {
    "agreement": (("Agreement and accuracy", together.agreement_by_run),),
    "relation": (("Tau-b over the steps", together.relation_by_run),),
    "discrepancy": (),
    "direction": (
        ("Direction of the losses' gradients against the first loss's", together.direction_by_run),
        ("How many times as far as the first loss they step", together.multiplier_by_run),
    ),
    "magnitude": (("Mean norm of every term's gradient", together.magnitude_by_run),),
    "share": (("What part of each loss's gradient every term is", together.share_by_run),),
    "conflict": (("Cosine of cross-entropy with the other terms", together.conflict_by_run),),
    "suppression": (),
}


def settings_of(
    sources: Mapping[str, Source], temperature: float | int | None = None
) -> tuple[float, int]:
    """Return temperature and k of the losses that all runs are looked at with.

    Raises:
        ValueError: steps of a training are given beside logits that have none.
    """
    over, at_once = (
        [name for name, source in sources.items() if source.over_steps is steps]
        for steps in (True, False)
    )
    if over and at_once:
        raise ValueError(
            f"{over[0]} holds the steps of a training, {at_once[0]} one set of logits: give runs "
            f"or files, not both (with --losses both will do)"
        )
    return common_settings([source.info for source in sources.values()], temperature)


def study_runs(
    source: Source,
    settings: tuple[float, int],
    device: torch.device | str = "cpu",
    watch: Watch = iter,
) -> dict[str, pd.DataFrame]:
    """Read a run once and return its tables: those of ``COMPARED`` that its columns allow.

    Tables with a row for every pair of classes are left out where there are too many classes.

    Args:
        source: the run, or a file of logits.
        settings: temperature and k of the losses, the same for all runs.
        device: where to compute.
        watch: wraps the batches, for a progress bar.
    """
    few = source.info.num_classes <= MOST_CLASSES
    nouns = [noun for noun in COMPARED if few or noun not in BY_PAIR]
    analyzers = {noun: analyzer(noun, source.info, source.marks, settings) for noun in nouns}
    return study(source, analyzers, device, watch)


def overview(sources: Mapping[str, Source], tables: Mapping[str, Tables]) -> pd.DataFrame:
    """Return one row a run: how often its student agrees and is right at the end, and its loss."""
    rows = []
    for name, source in sources.items():
        last = agreement.at_the_end(tables[name]["agreement"])
        row = {"run": name} | {q: last[q] for q in agreement.QUANTITIES}
        rows.append(row | {"n": last.n, "of": last.when.lower(), "loss": source.info.loss})
    return pd.DataFrame(rows)


def overview_sentence(frame: pd.DataFrame) -> str:
    """Say which student agrees most and which is right most often, and what may be chance."""
    known = frame.dropna(subset="agreement")
    if known.empty:
        return "No sample is left to compare the students on."
    most = known.loc[known.agreement.idxmax()]
    text = f"the student of {most.run} agrees most with its teacher ({most.agreement:.1%})"
    if known.student_accuracy.notna().any():
        best = known.loc[known.student_accuracy.idxmax()]
        who = "it" if best.run == most.run else f"that of {best.run}"
        text += f", and {who} is right most often ({best.student_accuracy:.1%})"
    return (
        f"{text[0].upper()}{text[1:]}. Differences below {100 * chance(frame):.1f} points are "
        f"within two standard errors of {frame.n.min():,} samples a run and may be chance; a run "
        f"is one training with one seed."
    )


def chance(frame: pd.DataFrame) -> float:
    """Twice the standard error of a difference of two shares, for independent samples."""
    shares = frame[["agreement", "student_accuracy"]].to_numpy().ravel()
    shares = shares[~np.isnan(shares)]
    return 2 * np.sqrt(2 * (shares * (1 - shares)).max() / frame.n.min())


def runs_page(
    sources: Mapping[str, Source], tables: Mapping[str, Tables], settings: tuple[float, int]
) -> Page:
    """Return the page of runs.

    Args:
        sources: by name.
        tables: by source and by noun, as :func:`study_runs` returns them.
        settings: temperature and k of the losses that they were looked at with.
    """
    frame = overview(sources, tables)
    shown = frame.drop(columns=["of", "loss"])
    caption = f"Of every run, {frame.of.iloc[0]}"
    first = Section("runs", "The students", overview_sentence(frame), tables=[(caption, shown)])
    nouns = [noun for noun in COMPARED if any(noun in of_one for of_one in tables.values())]
    one = next(iter(sources.values()))
    sections = [
        noun_together(noun, {sources[run]: t[noun] for run, t in tables.items() if noun in t})
        for noun in nouns
    ]
    facts = {name: run_fact(source) for name, source in sources.items()}
    facts |= {
        "classes": class_fact(one.info.num_classes, one.logits.classes),
        "losses compared": "KD, DKD and GDKD at temperature {:g} and k {}".format(*settings),
    }
    return Page(
        f"Compared: {', '.join(sources)}",
        facts,
        [first, *sections],
        {"runs": frame, **by_file(tables)},
        ("csv", "parquet"),
    )


def noun_together(noun: str, tables: Mapping[Source, pd.DataFrame]) -> Section:
    """Return the section of one noun, with all runs in each picture.

    Runs are called by their bare names where the noun has something to say of all of them: it
    tells from a name which method taught the student.
    """
    known, classes = NOUNS[noun], next(iter(tables)).info.classes
    called = {s.label if known.joint is None else s.name: t for s, t in tables.items()}
    title = known.title.removesuffix(" over training")
    section = noun_section(noun, called, classes, replace(known, pictures=(), title=title))
    if not known.excerpt:
        whole = joined({source.name: table for source, table in tables.items()})
        section = replace(section, tables=[(f"Table {noun}", whole)])
    if known.joint is not None and not any(source.over_steps for source in tables):
        return section  # its picture of all at the end says it already
    try:
        figures = drawn_together(noun, {source.label: t for source, t in tables.items()})
    except ValueError as error:
        return replace(section, text=f"{section.text}\nNot to be drawn from these data: {error}.")
    return replace(section, figures=[*section.figures, *figures])


def drawn_together(noun: str, tables: Tables) -> list[tuple[str, Figure]]:
    """Return the pictures of a noun with their captions, all runs in each.

    Raises:
        ValueError: the tables hold nothing to draw.
    """
    frame = pd.concat([table.assign(run=run) for run, table in tables.items()], ignore_index=True)
    return [(caption, as_figure(draw(frame))) for caption, draw in COMPARED[noun]]


def run_fact(source: Source) -> str:
    """Return how much a source holds, and what it was trained with where that is known."""
    rows = f"{source.logits.num_rows:,} samples"
    return f"{rows}, {source.info.loss}" if source.info.loss else rows
