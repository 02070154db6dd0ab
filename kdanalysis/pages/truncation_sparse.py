"""The study of truncation of a teacher who is sparse already: arrays, or files of both sides."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from kdanalysis.analyzers.terms.direction_reading import NO_GRADIENT
from kdanalysis.analyzers.truncation.part import KS
from kdanalysis.analyzers.truncation.sparse import add_sparse
from kdanalysis.analyzers.truncation.together import SPARSE
from kdanalysis.core.logits import check_logits
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.sparse_rows import within
from kdanalysis.core.sparse_sums import warn_of_small
from kdanalysis.core.streams import nothing_finite
from kdanalysis.core.wording import counted
from kdanalysis.pages.html import Section
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.study import Study
from kdanalysis.studies.facts import stated
from kdanalysis.studies.pairing import INSTEAD, look_at_sides
from kdanalysis.studies.sparse import read_known, read_student
from kdanalysis.studies.sweeps import as_logits

KNOWN = {"logprobs": "log-probabilities", "logits": "logits"}


def sparse_file_study(
    path: str | Path,
    student: str | Path | None,
    ks: Sequence[int] | None = None,
    temperatures: Sequence[float | int] = (1.0,),
    vocabulary: int | None = None,
    keys: Mapping[str, str] | None = None,
    kind: str = "logprobs",
    config: str | Path | None = None,
) -> Study:
    """Study the truncation of a teacher in a file as ``read_sparse`` reads it.

    Args:
        path: the teacher.
        student: a file with the student's logits of the same rows in the same order.
        ks: as for ``truncation``, none above the number of stored tokens.
        temperatures: at each the file must say the mass of its tail.
        vocabulary: number of tokens; logits of the student beyond them are cut off.
        keys: names in the teacher's file, where they are unusual; student_logits in the student's.
        kind: "logprobs", or "logits" with their logsumexp in the file.
        config: DistillKit's compression_config.yaml; the one beside the file if not given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no student, a file cannot be read, the rows or vocabularies do not fit,
            or the tail's mass is not known at a temperature.
    """
    if student is None:
        raise ValueError(
            f"{path} holds a few tokens a row of a teacher and no student: what truncation loses "
            f"is a gradient in the student's logits, so --student FILE is needed"
        )
    keys = dict(keys or {})
    own = keys.pop("student_logits", None)
    teacher, _ = read_known(path, vocabulary, keys, kind, config)
    ours = read_student(student, vocabulary, own, teacher.vocabulary)
    return sparse_study(ours, teacher, ks, temperatures, Path(path).name)


def sparse_study(
    student: Tensor | np.ndarray,
    teacher: SparseTeacher,
    ks: Sequence[int] | None,
    temperatures: Sequence[float | int],
    name: str = "",
) -> Study:
    """Study the truncation of a sparse teacher; see ``truncation``."""
    student = within(as_logits(student, "student"), teacher)
    if not len(student) == len(teacher) > 0:
        raise ValueError(
            f"the student has {counted(len(student), 'row')} of logits and the teacher "
            f"{len(teacher)} of tokens: need the same ones, and one at least"
        )
    if teacher.vocabulary is None and teacher.kind == "logprobs":
        warn_of_small(teacher.inside(), student.shape[1])
    held, classes = int(teacher.present.sum(-1).min()), student.shape[1]
    ks = [k for k in KS if k <= min(held, classes - 1)] if ks is None else ks
    analyzers = {kind.noun: kind(classes, ks, temperatures) for kind in SPARSE}
    check_logits("student logits", student, INSTEAD)
    best = add_sparse(analyzers.values(), student, teacher)
    doubt = look_at_sides(best, student=student, teacher=teacher)
    tables = {noun: one.table() for noun, one in analyzers.items()}
    if tables["truncation"].n.max() == 0:
        raise ValueError(nothing_finite("the student", student))
    facts = {
        "teacher": name,
        "known": f"{KNOWN[teacher.kind]} of at most {teacher.ids.shape[1]:,} tokens a row at T = "
        f"{teacher.temperature:g}",
        "rows": f"{len(student):,}",
        "classes": f"{classes:,}",
        "K": ", ".join(map(str, ks)),
        "temperatures": ", ".join(f"{t:g}" for t in temperatures),
        "rows left out (NaN or inf)": int(tables["truncation"].non_finite.max()) or None,
    }
    facts["left out"] = (
        "who pays, bias against sampling, temperature, losses: they need how the tokens that are "
        "not stored share their mass"
    )
    facts["likely wrong"] = doubt
    title = f"Truncation: {name}" if name else "Truncation of a sparse teacher"
    return study_of(title, facts, tables)


def study_of(title: str, facts: dict[str, object], tables: dict[str, pd.DataFrame]) -> Study:
    """Return the study of these tables, a section each."""

    def sections() -> list[Section]:
        return [
            noun_section(noun, {"": table}, pictures=() if over_one_temperature(table) else None)
            for noun, table in tables.items()
        ]

    parts = {noun: {"": table} for noun, table in tables.items()}
    there = {noun: table.n.max() > 0 for noun, table in tables.items()}
    silent = there["truncation_tail"] and not there["truncation_direction"]
    facts |= {"no gradient": NO_GRADIENT if silent else None}
    return Study(title, stated(facts), parts, sections, None, ("csv", "parquet"))


def over_one_temperature(table: pd.DataFrame) -> bool:
    """Whether a table over temperatures holds a single one, so that there is no line to draw."""
    return "clamped" in table and table.temperature.nunique() == 1
