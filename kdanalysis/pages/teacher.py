"""The teacher's page: its card, and what the card's numbers come from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.analyzers.teacher.suggestion import suggest
from kdanalysis.analyzers.teacher.suppression import Suppression
from kdanalysis.analyzers.terms.amplification import Amplification
from kdanalysis.losses import DKD, GDKD
from kdanalysis.pages.card import make_tiles, wide_card
from kdanalysis.pages.facts import class_fact, stated
from kdanalysis.pages.html import Section
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.page import Page
from kdanalysis.pages.suggestion import suggestion_section
from kdanalysis.studies.stream import Batches, feed_share, runnable

MOST_CLASSES = 200  # of tables with a row for every pair of classes
COLUMNS = ("teacher_logits", "target")


def study_teacher(
    logits: Any,
    temperatures: Sequence[float] = (1.0, 2.0, 4.0, 8.0),
    device: torch.device | str = "cpu",
    watch: Callable[[Batches], Batches] = iter,
) -> dict[str, pd.DataFrame]:
    """Read the logits once, batch by batch, and return the tables of a teacher by their nouns.

    Args:
        logits: what ``load_logits`` returns; labels are used where there are some.
        temperatures: every T > 0 of the card.
        device: where to compute.
        watch: wraps the batches, for a progress bar.

    Raises:
        ValueError: one class only, no samples, probabilities instead of logits, or a temperature
            that is not above 0.
    """
    classes = logits.num_classes
    wanted = {
        "teacher": TeacherDistribution(classes, temperatures),
        "mass": TopKMass(classes, temperatures),
        "calibration": Calibration(classes),
        "suppression": Suppression(classes),
    }
    if classes <= MOST_CLASSES:
        wanted |= {"profile": ClassProfile(classes), "modality": Modality(classes)}
    if classes > 2:
        losses = {"dkd": DKD(), "gdkd": GDKD(k=min(5, classes - 1))}
        wanted["amplification"] = Amplification(losses, temperatures)
    columns = COLUMNS if logits.has_target else COLUMNS[:1]
    analyzers = runnable(wanted, columns)
    feed_share(logits, columns, analyzers.values(), device, watch)
    tables = {noun: analyzer.table() for noun, analyzer in analyzers.items()}
    evidence = (tables.get(noun) for noun in ("modality", "calibration"))
    suggestion = suggest(tables["teacher"], tables["mass"], *evidence)
    return {"teacher": tables.pop("teacher"), "suggestion": suggestion, **tables}


def teacher_page(logits: Any, name: str, tables: Mapping[str, pd.DataFrame]) -> Page:
    """Return the page of a teacher's tables; ``name`` says which teacher it is."""
    facts = {
        "logits": name,
        "samples": f"{logits.num_rows:,}",
        "classes": class_fact(logits.num_classes, logits.classes),
        "labels": "yes" if logits.has_target else "none: nothing about accuracy or calibration",
    }
    lead = [card_section(tables["teacher"]), suggestion_section(tables["suggestion"])]
    rest = [n for n in tables if n not in ("teacher", "suggestion")]
    sections = lead + [noun_section(noun, {"": tables[noun]}, logits.classes) for noun in rest]
    return Page(f"Teacher card: {name}", stated(facts), sections, dict(tables))


def card_section(card: pd.DataFrame, run: str = "", place: int = 1) -> Section:
    """Return the card: tiles to read first, then every quantity at every temperature.

    Args:
        card: columns quantity, temperature, value.
        run: whose teacher it is, where a page holds several.
        place: 1 for the first card of a page, 2 for the second.
    """
    left_out = int(card.loc[card.quantity == "non_finite", "value"].sum())
    number = left_out_sentence(left_out)
    return Section(
        "teacher" if place == 1 else f"teacher-{place}",
        f"Teacher card of {run}" if run else "Teacher card",
        "What a student can learn from this teacher beyond its first guess: the less a teacher "
        "leaves to its other classes, the more a loss must amplify them.",
        number,
        tables=[("Every quantity, by temperature", wide_card(card))],
        tiles=make_tiles(card),
    )


def left_out_sentence(count: int) -> str:
    """Say how many samples enter no number; nothing where all of them do."""
    if count == 1:
        return "1 sample holds NaN or inf and enters no number."
    return f"{count:,} samples hold NaN or inf and enter no number." if count else ""
