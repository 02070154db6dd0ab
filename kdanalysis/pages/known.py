"""The page of a truncated teacher: what its tokens say, and what they cannot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdanalysis.analyzers.teacher.known import known_card, known_mass
from kdanalysis.pages.html import Section
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.study import Study
from kdanalysis.studies.facts import stated
from kdanalysis.studies.sparse import known_at, read_known


def known_study(
    path: str | Path,
    temperatures: Sequence[float | int] = (1.0,),
    vocabulary: int | None = None,
    keys: Mapping[str, str] | None = None,
) -> Study:
    """Diagnose a truncated teacher, a file as ``read_sparse`` reads it.

    Args:
        path: the file; its labels are used where it has some.
        temperatures: those of them at which the tail is known are shown; that of the file where
            it is known at none.
        vocabulary: number of tokens, where the file does not say it.
        keys: names in the file, where they are unusual.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as ``read_sparse``; or it holds draws, or logits without their logsumexp.
    """
    teacher, target = read_known(path, vocabulary, keys)
    ladder, missing = known_at(teacher, temperatures, path)
    tables = {"known": known_card(ladder, target), "known_mass": known_mass(ladder)}
    facts = {
        "truncated teacher": Path(path).name,
        "rows": f"{len(teacher):,}",
        "tokens a row": f"{teacher.ids.shape[1]:,} at most",
        "vocabulary": "unknown" if teacher.vocabulary is None else f"{teacher.vocabulary:,}",
        "places with fillers": teacher.found["sentinel"] or None,
        "left out": missing,
        "of all tokens": "nothing: their logits are not in the file; kdanalysis truncation "
        "--student FILE shows what K tokens lose",
    }

    def sections() -> list[Section]:
        return [noun_section(noun, {"": table}) for noun, table in tables.items()]

    parts = {noun: {"": table} for noun, table in tables.items()}
    return Study(f"Truncated teacher: {Path(path).name}", stated(facts), parts, sections)
