"""The section of a noun: its sentence, its number, its pictures, its table."""

from collections.abc import Mapping

import pandas as pd

from kdanalysis.analyzers import load_nouns
from kdanalysis.analyzers.noun import Names, Noun
from kdanalysis.pages.html import Section
from kdanalysis.pages.old_nouns import OLD


def find(noun: str) -> type[Noun] | None:
    """Return what belongs to a noun; None where nothing but its table is known."""
    return load_nouns().get(noun) or OLD.get(noun)


def noun_section(
    noun: str,
    tables: Mapping[str, pd.DataFrame],
    classes: Names = None,
    known: type[Noun] | None = None,
) -> Section:
    """Return the section of one noun, with one table or one a run.

    Args:
        noun: its name; of an unknown one the tables alone are shown.
        tables: by run; the name ``""`` for a single one, which then needs no name.
        classes: a name for every class.
        known: what to show instead of what belongs to the noun.
    """
    known = known or find(noun)
    if known is None:
        return Section(noun, noun.capitalize(), tables=list(tables.items()))
    text, number, figures = [], [], []
    for where, table, reading, pictures in shown(known, tables):
        try:
            drawn = [(f"{where}{p.caption}", p.figure(table, classes)) for p in pictures]
            read = reading(table, classes)
            text.append(where + read.sentence)
            number.append(where + read.number)
            figures += drawn
        except ValueError as error:
            text.append(f"{where}Not to be drawn from these data: {error}.")
    captions = [(f"Table {noun}", joined(tables))]
    if known.excerpt:
        parts = {run: known.excerpt(table) for run, table in tables.items()}
        captions = [(f"Numbers of the table {noun}, which is too long for a page", joined(parts))]
    return Section(noun, known.title, "\n".join(text), "\n".join(number), figures, captions)


def shown(known: type[Noun], tables: Mapping[str, pd.DataFrame]) -> list[tuple]:
    """Return what is told: the line's beginning, one or all tables, reading and pictures."""
    single = [
        (f"{run}: " if run else "", table, known.reading, known.pictures)
        for run, table in tables.items()
    ]
    if known.reading_of_all is None or len(tables) == 1:
        return single
    of_all = ("", tables, known.reading_of_all, known.pictures_of_all)
    return [of_all, *(single if known.beside else [])]


def joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables as one, with a first column ``run`` where there are several."""
    if len(tables) == 1:
        return next(iter(tables.values()))
    frame = pd.concat(tables, names=["run"]).reset_index("run")
    return frame.reset_index(drop=True)
