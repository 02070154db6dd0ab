"""A teacher's page: its card, what the card's numbers come from, and candidates to try."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.candidates import (
    OWN,
    UNIFORM,
    FromUniform,
    candidate_table,
    choose,
)
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.card_tiles import ENTRIES, card_tiles
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.analyzers.teacher.suppression import Suppression
from kdanalysis.analyzers.teacher.tokens import token_table
from kdanalysis.analyzers.terms.amplification import Amplification
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.core.arguments import typed
from kdanalysis.core.vocabulary import VOCABULARY
from kdanalysis.losses import DKD, GDKD, parse_loss
from kdanalysis.pages.html import ASIDE, Section, Tile
from kdanalysis.pages.known import kept_known_study, known_study
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.study import Study
from kdanalysis.studies.compute import Watch, compute, unwatched
from kdanalysis.studies.facts import class_fact, cut_fact, label_fact, left_out_fact, stated
from kdanalysis.studies.opening import BY_NAME, Given, open_source
from kdanalysis.studies.pairing import doubt
from kdanalysis.studies.run import MOST_CLASSES, embedding_fact, embedding_of
from kdanalysis.studies.source import Source
from kdanalysis.studies.sparse import is_sparse


@typed(advice={"source": BY_NAME})
def diagnose(
    source: Given,
    temperatures: Sequence[float | int] = (1.0, 2.0, 4.0, 8.0),
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> Study:
    """Diagnose a teacher's predictive distribution: its card, and candidates to try.

    Args:
        source: a file of logits, a run folder, or arrays by name (teacher_logits, and target where
            there are labels); labels are used where there are some, and so are pooled features,
            teacher_features (n, d), and names of the classes, ``classes``, one text each. Of a
            truncated teacher, as ``read_sparse`` reads it, what its tokens say: their mass, the
            tail, and bounds. Of a run recorded with ``TopK`` that, and what truncation costs its
            student.
        temperatures: every T > 0 of the card.
        device: where to compute.
        watch: wraps the batches, for a progress bar.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one class only, no samples, probabilities instead of logits, or a temperature
            that is not above 0.
    """
    if is_sparse(source):
        return known_study(source, temperatures)
    source = open_source(source, kept=True)
    if source.kept:
        return kept_known_study(source, temperatures, device, watch)
    tables = teacher_tables(source, temperatures, device, watch)
    facts = {
        "logits": source.name,
        "samples": f"{source.num_rows:,}",
        "classes": class_fact(source.info.num_classes, source.info.classes),
        "cut": cut_fact(source),
        "files": getattr(source.logits, "order", None),
        "labels": label_fact(source),
        "student": student_fact(source, tables.get("candidates")),
        "left out": left_out_fact(source.info.num_classes),
        "no embedding": embedding_fact(source),
        "likely wrong": doubt(source),
    }

    def sections() -> list[Section]:
        lead = [card_section(tables["teacher"])]
        if "candidates" in tables:
            lead.append(candidates_section(tables["candidates"]))
        rest = [noun for noun in tables if noun not in ("teacher", "candidates")]
        return lead + [noun_section(n, {"": tables[n]}, source.info.classes) for n in rest]

    parts = {noun: {"": table} for noun, table in tables.items()}
    title = f"Teacher card: {source.name}"
    return Study(title, stated(facts), parts, sections, source.info.classes)


def teacher_tables(
    source: Source,
    temperatures: Sequence[float | int] = (1.0, 2.0, 4.0, 8.0),
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> dict[str, pd.DataFrame]:
    """Read the teacher's side once and return its tables by their nouns; see :func:`diagnose`.

    Those that need a label are left out where no row has one, or distributions alone.
    """
    classes = source.info.num_classes
    wanted = {
        "teacher": TeacherDistribution(classes, temperatures),
        "mass": TopKMass(classes, temperatures),
        "calibration": Calibration(classes),
        "suppression": Suppression(classes),
    }
    if classes <= MOST_CLASSES:
        wanted |= {"profile": ClassProfile(classes), "modality": Modality(classes)}
    if 2 < classes <= VOCABULARY:
        losses = {"dkd": DKD(), "gdkd": GDKD(k=min(5, classes - 1))}
        wanted["amplification"] = Amplification(losses, temperatures)
    wanted |= embedding_of(source, "teacher")
    tables = compute(source, wanted, device, watch)
    if source.unlabelled == source.num_rows:  # as where there are no labels at all
        tables = {n: table for n, table in tables.items() if "target" not in wanted[n].needs}
    if classes > VOCABULARY:
        advice = {"tokens": token_table(tables["mass"])}
    else:
        advice = {"candidates": candidates_of(source, tables["mass"], device, watch)}
    return {"teacher": tables.pop("teacher"), **advice, **tables}


def candidates_of(
    source: Source, mass: pd.DataFrame, device: torch.device | str = "cpu", watch: Watch = unwatched
) -> pd.DataFrame:
    """Return the losses to try, held against KD at the file's student, else at a uniform one.

    At a uniform one too where KD has no gradient at the file's: its logits are the teacher's.

    Args:
        source: the logits, read once more.
        mass: the table of ``TopKMass``.
        device: where to compute.
        watch: wraps the batches, for a progress bar.
    """
    chosen = choose(mass, source.has_target and source.unlabelled < source.num_rows)
    if len(chosen) < 2:
        return candidate_table(chosen, None)
    losses = {name: parse_loss(loss) for name, (loss, _) in chosen.items()}
    students = {OWN: LossDirection(losses, source.marks())} if _has_student(source) else {}
    for student, held in (students | {UNIFORM: FromUniform(losses)}).items():
        direction = compute(source, {"direction": held}, device, watch)["direction"]
        if direction.cosine.notna().any():  # a student that is its teacher has no gradient
            return candidate_table(chosen, direction, student)
    return candidate_table(chosen, None)


def student_fact(source: Source, candidates: pd.DataFrame | None) -> str | None:
    """Say on how many samples the file's student is looked at; None where on all, or at none."""
    if candidates is None or len(candidates) < 2 or not _has_student(source):
        return None
    if candidates.student.iloc[0] != OWN:
        return "not looked at: no sample of it is finite, or its logits are the teacher's"
    n = int(candidates.n.iloc[0])
    why = "the others hold NaN or inf, or lack the label that DKD needs"
    return f"looked at on {n:,} of {source.num_rows:,} samples: {why}" * (n < source.num_rows)


def _has_student(source: Source) -> bool:
    return source.run is None and "student_logits" in source.columns()


def card_section(card: pd.DataFrame, run: str = "", place: int = 1) -> Section:
    """Return the card: tiles to read first, then every quantity at every temperature.

    Args:
        card: columns quantity, temperature, value.
        run: whose teacher it is, where a page holds several.
        place: 1 for the first card of a page, 2 for the second.
    """
    section = noun_section("teacher", {"": card})
    _, table = section.tables[0]
    return replace(
        section,
        name="teacher" if place == 1 else f"teacher-{place}",
        title=f"Teacher card of {run}" if run else "Teacher card",
        tables=[("Every quantity, by temperature", table)],
        tiles=five(card_tiles(card)),
    )


def candidates_section(table: pd.DataFrame) -> Section:
    """Return the section of the candidates: each with its reason, and how it lies to KD."""
    section = noun_section("candidates", {"": table})
    tables = [("Losses against KD", table)] if len(table) else []
    return replace(section, tables=tables, group=ASIDE)


def five(tiles: Sequence[tuple[str, str, str]]) -> list[Tile]:
    """Return the first five numbers, and what is said of samples left out; the table has all."""
    known = {entry.label for entry in ENTRIES.values()}
    first = [tile for tile in tiles if tile[0] in known][:5]
    return [Tile(*tile) for tile in (*first, *(one for one in tiles if one[0] not in known))]
