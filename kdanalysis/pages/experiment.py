"""The page of an experiment: students side by side, their teacher's card, what each loss taught."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kdanalysis.analyzers.teacher.calibration import StudentCalibration
from kdanalysis.pages.html import Section
from kdanalysis.pages.ladder import study_ladder
from kdanalysis.pages.layers import with_conflict
from kdanalysis.pages.nouns import joined, noun_section
from kdanalysis.pages.page import Page
from kdanalysis.pages.run import BY_PAIR, Watch, by_file, run_tables
from kdanalysis.pages.suggestion import suggestion_section
from kdanalysis.pages.teacher import MOST_CLASSES, card_section, study_teacher
from kdanalysis.store.info import RunInfo
from kdanalysis.store.sources import load_logits
from kdanalysis.studies.run import open_run
from kdanalysis.studies.stream import feed
from kdanalysis.studies.tables import LAYER_TABLES, REGION_TABLES, analyzer
from kdanalysis.training.stones import TrainedLadder

TEACHER = ("mass", "suppression", "amplification", "profile", "modality")
TRAINING = (
    *("magnitude", "share", "confidence", "nckd", "conflict", "direction", "relation"),
    *LAYER_TABLES,
    *REGION_TABLES,
)
VALIDATION = ("discrepancy",)


def experiment_page(
    title: str,
    facts: Mapping[str, object],
    students: pd.DataFrame,
    teacher: Path,
    runs: Mapping[str, Path],
    learned: Mapping[str, Path],
    device: Any = "cpu",
    watch: Watch = iter,
    ladders: Mapping[str, TrainedLadder] | None = None,
) -> Page:
    """Read the teacher's logits and every run once, and return the page.

    Args:
        title: heading of the page.
        facts: what was trained on what.
        students: columns network, accuracy, agreement; the teacher's row first.
        teacher: the teacher's logits over images it was not trained on.
        runs: run folders by loss.
        learned: every student's logits beside its teacher's, over the same images, by loss.
        device: where to compute.
        watch: wraps the batches, for a progress bar.
        ladders: of students with stepping stones, by loss.
    """
    logits = load_logits(teacher)
    of_teacher = study_teacher(logits, device=device, watch=watch)
    of_runs = {name: run_tables(open_run(path), device, watch) for name, path in runs.items()}
    of_students = {
        name: study_student(load_logits(path), open_run(runs[name]).info, device, watch)
        for name, path in learned.items()
    }
    classes = open_run(next(iter(runs.values()))).info.classes
    sections = [students_section(students), card_section(of_teacher["teacher"])]
    sections.append(suggestion_section(of_teacher["suggestion"]))
    for noun in TEACHER:
        if noun in of_teacher:
            sections.append(noun_section(noun, {"": of_teacher[noun]}, classes))
    for noun, tables in with_conflict(TRAINING, of_runs).items():
        sections.append(noun_section(noun, tables, classes))
    networks = {"teacher": of_teacher} | of_students
    calibrations = {name: tables["calibration"] for name, tables in networks.items()}
    sections.append(noun_section("calibration", calibrations))
    for noun in VALIDATION:
        tables = {name: tables[noun] for name, tables in of_students.items() if noun in tables}
        if tables:
            sections.append(noun_section(noun, tables, classes))
    of_ladders = ladder_tables(ladders or {})
    sections += [noun_section(noun, tables) for noun, tables in of_ladders.items()]
    written = {"students": students} | of_teacher
    written |= {noun: joined(tables) for noun, tables in of_ladders.items()}
    written |= {noun: table for noun, table in by_file(of_runs).items() if noun in TRAINING}
    written |= by_file(of_students) | {"calibration": joined(calibrations)}
    return Page(title, facts, sections, written)


def ladder_tables(ladders: Mapping[str, TrainedLadder]) -> dict[str, dict[str, pd.DataFrame]]:
    """Return the tables of trained ladders over the validation images, by noun and loss."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for name, trained in ladders.items():
        tables = study_ladder(trained.ladder, trained.loss, trained.batches())
        for noun, table in (trained.history() | tables).items():
            found.setdefault(noun, {})[name] = table
    return found


def study_student(
    logits: Any, info: RunInfo, device: Any = "cpu", watch: Watch = iter
) -> dict[str, pd.DataFrame]:
    """Read the logits of both sides once; return the student's calibration and ``VALIDATION``.

    Args:
        logits: what ``load_logits`` returns.
        info: of the student's run: the tables are those of its loss.
        device: where to compute.
        watch: wraps the batches, for a progress bar.
    """
    wanted = [n for n in VALIDATION if n not in BY_PAIR or info.num_classes <= MOST_CLASSES]
    analyzers = {noun: analyzer(noun, info, []) for noun in wanted}
    analyzers["calibration"] = StudentCalibration(info.num_classes)
    columns = ("teacher_logits", "student_logits", "target")
    feed(watch(logits.batches(4096, columns)), analyzers.values(), device)
    return {noun: one.table() for noun, one in analyzers.items()}


def students_section(students: pd.DataFrame) -> Section:
    """Return the section that says how good each network is."""
    taught = students.iloc[1:]
    best = taught.loc[taught.accuracy.idxmax()]
    return Section(
        "students",
        "Teacher and students",
        "Accuracy over the validation images, and the share of them on which a student names the "
        "class that its teacher names. One seed each: small differences are chance.",
        f"{best.network} is the most accurate student here, {best.accuracy:.1%} against the "
        f"teacher's {students.accuracy.iloc[0]:.1%}.",
        tables=[("Networks", students)],
    )
