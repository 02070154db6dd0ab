"""The page of a truncated teacher: what its tokens say, and what they cannot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.teacher.known import Exact, known_card, known_mass
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.pages.html import Section
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.study import Study
from kdanalysis.studies.compute import Watch, unwatched
from kdanalysis.studies.facts import kept_facts, stated
from kdanalysis.studies.kept import SHOWN
from kdanalysis.studies.kept_teacher import read_kept_teacher
from kdanalysis.studies.pairing import doubt, look_at_sides
from kdanalysis.studies.run import tables_of
from kdanalysis.studies.source import Source
from kdanalysis.studies.sparse import known_at, read_known


def known_study(
    path: str | Path,
    temperatures: Sequence[float | int] = (1.0,),
    vocabulary: int | None = None,
    keys: Mapping[str, str] | None = None,
    kind: str = "logprobs",
    config: str | Path | None = None,
) -> Study:
    """Diagnose a truncated teacher, a file as ``read_sparse`` reads it.

    Args:
        path: the file; its labels are used where it has some.
        temperatures: those of them at which the tail is known are shown; that of the file where
            it is known at none.
        vocabulary: number of tokens, where the file does not say it.
        keys: names in the file, where they are unusual.
        kind: "logprobs", or "logits" with their logsumexp in the file.
        config: DistillKit's compression_config.yaml; the one beside the file if not given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as ``read_sparse``; or it holds draws, or logits without their logsumexp.
    """
    teacher, target = read_known(path, vocabulary, keys, kind, config)
    doubt = look_at_sides(teacher=teacher, target=target)
    ladder, missing = known_at(teacher, temperatures, path)
    left = {
        "likely wrong": doubt,
        "left out": missing,
        "of all tokens": "nothing: their logits are not in the file; kdanalysis truncation "
        "--student FILE shows what K tokens lose",
    }
    if teacher.vocabulary is None:
        left["entropy_high"] = "not known: it needs the number of tokens, --vocabulary N"
    return _study_of(Path(path).name, teacher, known_tables(ladder, target), left)


def kept_known_study(
    source: Source,
    temperatures: Sequence[float | int] = (1.0,),
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> Study:
    """Diagnose the teacher of a run that keeps a few classes of every row; what truncation costs.

    Args:
        source: the run, whose rows are read twice.
        temperatures: those of them that were kept are shown; T = 1 where none was.
        device: where the sums of truncation are.
        watch: wraps the batches, for a progress bar.

    Raises:
        ValueError: no row of the run is finite.
    """
    teacher, target, exact = read_kept_teacher(source, watch)
    ladder, missing = known_at(teacher, temperatures, source.path)
    tables = known_tables(ladder, target, exact) | tables_of(source, SHOWN, device, watch)
    left = {
        "likely wrong": doubt(source),
        "rows left out (NaN or inf)": source.num_rows - len(teacher) or None,
        "left out": missing,
        **kept_facts(source.info),
    }
    return _study_of(source.name, teacher, tables, left)


def known_tables(
    ladder: Sequence[SparseTeacher],
    target: Tensor | None,
    exact: Mapping[float, Exact] | None = None,
) -> dict[str, pd.DataFrame]:
    """Return the tables of what a truncated teacher's tokens say, by noun; see ``known_card``."""
    return {"known": known_card(ladder, target, exact), "known_mass": known_mass(ladder)}


def _study_of(
    name: str,
    teacher: SparseTeacher,
    tables: dict[str, pd.DataFrame],
    left: dict[str, object],
) -> Study:
    facts = {
        "truncated teacher": name,
        "rows": f"{len(teacher):,}",
        "tokens a row": f"{teacher.ids.shape[1]:,} at most",
        "vocabulary": "unknown" if teacher.vocabulary is None else f"{teacher.vocabulary:,}",
        "places with fillers": teacher.found["sentinel"] or None,
    }

    def sections() -> list[Section]:
        return [noun_section(noun, {"": table}) for noun, table in tables.items()]

    parts = {noun: {"": table} for noun, table in tables.items()}
    return Study(f"Truncated teacher: {name}", stated(facts | left), parts, sections)
