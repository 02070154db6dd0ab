"""The page of an experiment: students side by side, their teacher's card, what each loss taught."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.core.wording import percent
from kdanalysis.pages.by_run import section_of_runs
from kdanalysis.pages.explorer import Explorer
from kdanalysis.pages.groups import arranged
from kdanalysis.pages.html import Section
from kdanalysis.pages.lead import Lead, lead_of
from kdanalysis.pages.nouns import with_conflict
from kdanalysis.pages.reading import read_all
from kdanalysis.pages.run import run_tables
from kdanalysis.pages.study import Study, Tables
from kdanalysis.studies.compute import Watch, by_noun, compute, unwatched
from kdanalysis.studies.ladder import ladder_tables
from kdanalysis.studies.opening import open_source
from kdanalysis.studies.paired import paired_errors
from kdanalysis.studies.run import ORDER, Run, analyzer, embedding_of, possible
from kdanalysis.studies.setting import common_settings
from kdanalysis.studies.source import Source
from kdanalysis.training.stones import TrainedLadder

TEACHER = (
    *("teacher", "candidates"),
    *("mass", "suppression", "amplification", "profile", "modality"),
)
TRAINING = (
    *("magnitude", "share", "confidence", "nckd", "conflict", "direction", "relation"),
    *("layers", "snr", "anatomy", "ambiguity", "cancellation", "uptake"),
)
VALIDATION = ("discrepancy", "embedding")


def experiment_study(
    title: str,
    facts: Mapping[str, object],
    students: pd.DataFrame,
    card: Study,
    runs: Mapping[str, Path],
    learned: Mapping[str, Path],
    device: Any = "cpu",
    watch: Watch = unwatched,
    ladders: Mapping[str, TrainedLadder] | None = None,
) -> Study:
    """Read every run once, and return the study.

    Args:
        title: heading of the page.
        facts: what was trained on what.
        students: columns network, accuracy, agreement; the teacher's row first.
        card: what ``diagnose`` gives of the teacher, over images it was not trained on.
        runs: run folders by loss.
        learned: every student's logits beside its teacher's, over the same images, by loss.
        device: where to compute.
        watch: wraps the batches, for a progress bar.
        ladders: of students with stepping stones, by loss.
    """
    opened = {name: Run(path) for name, path in runs.items()}
    classes = next(iter(opened.values())).info.classes
    valid = {name: open_source(path) for name, path in learned.items()}
    images = next(iter(valid.values())).num_rows
    of_runs, of_students, explorer = read_together(opened, valid, device, watch)
    calibration = {"teacher": card.tables["calibration"]} | of_students["calibration"]
    of_ladders = by_noun({
        name: one.history() | ladder_tables(one.ladder, one.loss, one.batches())
        for name, one in (ladders or {}).items()
    })  # fmt: skip
    further = [noun for noun in of_runs if noun not in ORDER]
    training = {noun: of_runs[noun] for noun in (*TRAINING, *further) if noun in of_runs}
    validation = {noun: of_students[noun] for noun in VALIDATION if noun in of_students}
    if "embedding" in validation and "embedding" in card.tables:
        validation["embedding"] = {"teacher": card.tables["embedding"]} | validation["embedding"]

    shown = with_conflict(training) | {"calibration": calibration} | validation | of_ladders
    named = {noun: classes for noun in shown if noun not in ("calibration", *of_ladders)}

    def lead() -> Lead:
        accuracies = students[["network", "accuracy"]].assign(n=images)
        where = f"over {images:,} validation images"
        errors = (paired_errors(valid) or {}).get("student_accuracy")
        return lead_of(training, explorer, accuracies, where, list(opened), errors)

    parts = {"students": {"": students}} | {n: {"": table} for n, table in card.tables.items()}
    parts |= of_ladders | training | validation | {"calibration": calibration}
    sections = partial(experiment_sections, students, card, shown, named)
    return Study(title, facts, parts, sections, classes, lead=lead, explorer=explorer)


def read_together(
    opened: Mapping[str, Run], valid: Mapping[str, Source], device: Any, watch: Watch
) -> tuple[Tables, Tables, Explorer | None]:
    """Return by noun the tables of runs and of their students, and the students' explorer.

    Args:
        opened: runs by loss.
        valid: what their students say of the validation images, likewise.
        device: where to compute.
        watch: wraps the batches, for a progress bar.
    """
    sources = {f"run {name}": Source(name, None, run) for name, run in opened.items()}
    sources |= {f"student {name}": one for name, one in valid.items()}

    def tables_of(source: Source, watch: Watch) -> dict[str, pd.DataFrame]:
        if source.run is not None:
            return run_tables(source, device, watch)
        (run,) = (opened[name] for name, one in valid.items() if one is source)
        return student_tables(source, run, device, watch)

    settings = common_settings([run.info for run in opened.values()])
    where = f"Over {next(iter(valid.values())).num_rows:,} validation images."
    tables, explorer = read_all(sources, tables_of, settings, device, watch, where, valid)
    of_runs = by_noun({name: tables[f"run {name}"] for name in opened})
    return of_runs, by_noun({name: tables[f"student {name}"] for name in valid}), explorer


def experiment_sections(
    students: pd.DataFrame,
    card: Study,
    shown: Mapping[str, Mapping[str, pd.DataFrame]],
    named: Mapping[str, Sequence[str] | None],
) -> list[Section]:
    """Return the sections of students, teacher and every noun, whose classes ``named`` names."""
    of_teacher = {section.name: section for section in card.planned}
    found = [section_of_runs(noun, tables, named.get(noun)) for noun, tables in shown.items()]
    teacher = [of_teacher[noun] for noun in TEACHER if noun in of_teacher]
    return arranged([students_section(students), *teacher, *found])


def student_tables(
    source: Source, run: Run, device: Any = "cpu", watch: Watch = unwatched
) -> dict[str, pd.DataFrame]:
    """Read the logits of both sides once; return the student's calibration and ``VALIDATION``.

    Args:
        source: the logits.
        run: of the student: the tables are those of its loss.
        device: where to compute.
        watch: wraps the batches, for a progress bar.
    """
    as_trained = Source(source.name, source.logits, run)
    analyzers = embedding_of(source, "student")
    if possible(source, "discrepancy"):
        analyzers["discrepancy"] = analyzer(as_trained, "discrepancy")
    analyzers["calibration"] = Calibration(source.info.num_classes, side="student")
    return compute(source, analyzers, device, watch)


def students_section(students: pd.DataFrame) -> Section:
    """Return the section that says how good each network is."""
    taught = students.iloc[1:]
    best = taught.loc[taught.accuracy.idxmax()]
    return Section(
        "students",
        "Teacher and students",
        "Accuracy over the validation images, and the share of them on which a student names the "
        "class that its teacher names.",
        f"{best.network} has {percent(best.accuracy)}, the teacher "
        f"{percent(students.accuracy.iloc[0])}; one "
        f"seed each, so whether one loss teaches better cannot be tested here.",
        tables=[("Networks", students)],
    )
