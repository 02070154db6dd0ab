"""The study of runs held against each other: every quantity of each, in one picture."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from kdanalysis.analyzers.noun import Picture
from kdanalysis.analyzers.students.agreement import QUANTITIES, agreement_by_run, at_the_end
from kdanalysis.analyzers.students.relation_pictures import relation_by_run
from kdanalysis.analyzers.terms.conflict_pictures import conflict_by_run
from kdanalysis.analyzers.terms.direction_pictures import direction_by_run, multiplier_by_run
from kdanalysis.analyzers.terms.direction_reading import NO_GRADIENT, is_silent
from kdanalysis.analyzers.terms.magnitude import magnitude_by_run
from kdanalysis.analyzers.terms.matching import Tables
from kdanalysis.analyzers.terms.share import share_by_run
from kdanalysis.core.wording import counted, percent
from kdanalysis.losses import spelled
from kdanalysis.pages.accuracies import several_teachers
from kdanalysis.pages.groups import arranged
from kdanalysis.pages.html import Section
from kdanalysis.pages.lead import lead_of
from kdanalysis.pages.nouns import about, find, noun_section
from kdanalysis.pages.reading import read_all
from kdanalysis.pages.study import Study
from kdanalysis.studies.compute import Watch, by_noun, joined, unwatched
from kdanalysis.studies.facts import class_fact, cut_fact, left_out_fact, repeated_in, stated
from kdanalysis.studies.kept import TABLES
from kdanalysis.studies.opening import where
from kdanalysis.studies.paired import paired_errors
from kdanalysis.studies.pairing import doubt
from kdanalysis.studies.run import possible, tables_of
from kdanalysis.studies.setting import common_settings, compared_fact, kept_by_all, within_kept
from kdanalysis.studies.source import Source

EVERY = "Over all samples, of a training those of all captured steps."
BY_RUN: dict[str, tuple[Picture, ...]] = {
    "agreement": (Picture("Agreement and accuracy", agreement_by_run),),
    "relation": (Picture("Tau-b over the steps", relation_by_run),),
    "discrepancy": (),
    "embedding": (),
    "direction": (
        Picture("Direction of the losses' gradients against the first loss's", direction_by_run),
        Picture("How many times as far as the first loss they step", multiplier_by_run),
    ),
    "magnitude": (Picture("Mean norm of every term's gradient", magnitude_by_run),),
    "share": (Picture("What part of each loss's gradient every term is", share_by_run),),
    "conflict": (Picture("Cosine of cross-entropy with the other terms", conflict_by_run),),
    "suppression": (),
}


def runs_study(
    sources: Mapping[str, Source],
    temperature: float | int | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> Study:
    """Read every run once, and return the study of all of them, noun by noun.

    Args:
        sources: by name.
        temperature: of the losses that they are looked at with; the first that a run states, as far
            as runs of kept classes know it.
        device: where to compute.
        watch: wraps the batches, for a progress bar.

    Raises:
        ValueError: as :func:`settings_of`.
    """
    settings = settings_of(sources, temperature)

    def tables_of_run(source: Source, watch: Watch) -> dict[str, pd.DataFrame]:
        nouns = [noun for noun in BY_RUN if possible(source, noun)]
        return tables_of(source, nouns, device, watch, settings)

    tables, explorer = read_all(sources, tables_of_run, settings, device, watch, EVERY)
    errors = paired_errors(sources)
    frame, right = overview(sources, tables, errors), (errors or {}).get("student_accuracy")
    first = next(iter(sources.values()))
    parts = by_noun(tables, list(BY_RUN))
    silent = [name for name, one in parts.get("direction", {}).items() if is_silent(one)]

    def sections() -> list[Section]:
        caption = f"Of every run, {frame.of.iloc[0]}"
        table = frame.drop(columns=["of", "loss"])
        text = overview_sentence(frame)
        return [
            Section("runs", "The students", text, tables=[(caption, table)]),
            *(noun_together(n, {sources[run]: t for run, t in parts[n].items()}) for n in parts),
        ]

    infos = [source.info for source in sources.values()]
    at = "KD, DKD and GDKD at temperature {:g} and k {}".format(*settings)
    facts = {name: run_fact(source) for name, source in sources.items()}
    facts |= {
        "classes": class_fact(first.info.num_classes, first.info.classes),
        "losses compared": compared_fact(infos, temperature) or at,
        "repeated samples": repeated_in(sources),
        "left out": "; ".join(left_out(sources)),
        "no gradient": f"of {', '.join(silent)}: {NO_GRADIENT}" if silent else None,
    }
    whole = {"runs": {"": frame}, **parts}
    return Study(
        f"Compared: {', '.join(sources)}",
        stated(facts),
        whole,
        lambda: arranged(sections()),
        first.info.classes,
        ("csv", "parquet"),
        lead=lambda: lead_of(parts, explorer, runs=list(sources), errors=right),
        explorer=explorer,
    )


def settings_of(
    sources: Mapping[str, Source], temperature: float | int | None = None
) -> tuple[float, int]:
    """Return temperature and k of the losses that all runs are looked at with.

    Raises:
        ValueError: steps of a training are given beside logits that have none, or runs of kept
            classes have no sums at the temperature.
    """
    over, at_once = (
        [where(source) for source in sources.values() if source.over_steps is steps]
        for steps in (True, False)
    )
    if over and at_once:
        raise ValueError(
            f"{over[0]} holds the steps of a training, {at_once[0]} one set of logits: give runs "
            f"or files, not both (with --losses both will do)"
        )
    infos = [source.info for source in sources.values()]
    settings = within_kept(infos, common_settings(infos, temperature))
    if temperature is not None and settings[0] != temperature:
        known = ", ".join(f"{t:g}" for t in kept_by_all(infos))
        raise ValueError(
            f"T = {temperature:g} cannot be looked at: sums over the classes that were not kept "
            f"are there for T = {known} in all these runs; take one of these, or record all logits"
        )
    return settings


def left_out(sources: Mapping[str, Source]) -> list[str]:
    """Return what is not made of a vocabulary, or of runs of kept classes, and why."""
    few = [name for name, source in sources.items() if source.kept]
    classes = next(iter(sources.values())).info.num_classes
    said = [left_out_fact(classes) or ""] if len(few) < len(sources) else []
    if few:
        lacking = [n for n in BY_RUN if find(n).kind == "samples" and n not in TABLES]
        said.append(
            f"{', '.join(lacking)} and losses at other weights of {', '.join(few)}, which would "
            f"need all logits: a few classes of every row and sums over the others were kept"
        )
    return [*filter(None, said)]


def overview(
    sources: Mapping[str, Source],
    tables: Mapping[str, Tables],
    errors: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Return one row a run: how often its student agrees and is right at the end, and its loss.

    ``chance`` is two standard errors of its largest difference to another run, of either share.

    Args:
        sources: by name.
        tables: of each.
        errors: as ``paired_errors`` gives them; None: as of independent samples.
    """
    rows = []
    for name, source in sources.items():
        last = at_the_end(tables[name]["agreement"])
        row = {"run": name} | {q: last[q] for q in (*QUANTITIES, "labelled", "n")}
        rows.append(row | {"of": last.when.lower(), "loss": spelled(source.info.loss)})
    frame = pd.DataFrame(rows)
    if errors is not None:
        largest = np.fmax.reduce([one.to_numpy() for one in errors.values()]).max(1)
    else:
        n = frame[["n", "labelled"]].to_numpy()
        # Agresti and Caffo: shares of 0 and 1 vary too
        shares = (frame[["agreement", "student_accuracy"]] * n + 1) / (n + 2)
        variance = (shares * (1 - shares) / (n + 2)).max(axis=1)
        largest = np.sqrt(variance + variance.max())
    frame.insert(frame.columns.get_loc("labelled"), "chance", 2 * largest)
    return frame.drop(columns="labelled") if (frame.labelled == frame.n).all() else frame


def overview_sentence(frame: pd.DataFrame) -> str:
    """Say which student agrees most and which is right most often, and what may be chance."""
    known = frame.dropna(subset="agreement")
    if known.empty:
        return "No sample is left to compare the students on."
    text = _first(known, "agreement", "agrees most with its teacher", "agree with their teacher")
    if known.student_accuracy.notna().any():
        first = _first(known, "student_accuracy", "is right most often", "are right")
        who, *rest = first.partition(" is right")
        text += " and" + "".join(rest) if text.startswith(f"{who} agrees") else f", and {first}"
    most, rows = frame.chance.max(), counted(int(frame.n.min()), "sample")
    which = f"Differences below {100 * most:.1f} points" if most < 1 else "All differences"
    chance = f"are within two standard errors of {rows} a run and may be chance"
    rest = f"{chance}{several_teachers(known)}; a run is one training with one seed."
    return f"{text[0].upper()}{text[1:]}. {which} {rest}"


def _first(frame: pd.DataFrame, share: str, one: str, several: str) -> str:
    """Say whose share is the largest, or whose are equally large."""
    names = frame.run[frame[share] == frame[share].max()].tolist()
    told = f"the students of {', '.join(names)} {several} most often, all alike"
    if len(names) in (1, len(frame)):
        all_of_them = f"all students {several} equally often"
        told = f"the student of {names[0]} {one}" if len(names) == 1 else all_of_them
    return f"{told} ({percent(frame[share].max())})"


def noun_together(noun: str, tables: Mapping[Source, pd.DataFrame]) -> Section:
    """Return the section of one noun, with all runs in each picture.

    Runs are called by their bare names where the noun has something to say of all of them: it
    tells from a name which method taught the student.
    """
    known, classes = find(noun), next(iter(tables)).info.classes
    of_all = known.reading_of_all is not None
    steps = any(source.over_steps for source in tables)
    called = {source.name if of_all else source.label: table for source, table in tables.items()}
    section = noun_section(
        noun,
        called,
        classes,
        title=known.title.removesuffix(" over training"),
        pictures=(),
        # Without steps the picture of all at the end says it already.
        together=BY_RUN[noun] if steps or not of_all else (),
        labels={source.label: source.name for source in tables},
    )
    if known.excerpt:
        return section
    whole = joined({source.name: table for source, table in tables.items()})
    return replace(section, tables=[(f"Table {noun}{about(known)}", whole)])


def run_fact(source: Source) -> str:
    """Return how much a source holds, and what it was trained with where that is known."""
    rows, loss = counted(source.num_rows, "sample"), spelled(source.info.loss)
    return ", ".join(filter(None, (rows, loss, cut_fact(source), doubt(source))))
