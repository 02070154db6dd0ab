"""The section of a noun: its sentence, its number, its pictures, its table."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any

import pandas as pd

from kdanalysis.analyzers import load_nouns
from kdanalysis.analyzers.noun import Names, Noun, Picture, Reading
from kdanalysis.core.cores import on_cores
from kdanalysis.core.wording import REST
from kdanalysis.draw.drawn import load
from kdanalysis.pages.html import Part, Section, Shown
from kdanalysis.pages.html.section import numbers
from kdanalysis.studies.compute import joined

Tables = Mapping[str, Mapping[str, pd.DataFrame]]
Said = Mapping[tuple, Reading | ValueError]
IN_TIME = (", over training", " over training", ", at the end")  # ends of titles and captions
_said: ContextVar[Said] = ContextVar("said", default=MappingProxyType({}))


def find(noun: str) -> type[Noun] | None:
    """Return what belongs to a noun; None where nothing but its table is known."""
    return load_nouns().get(noun)


def noun_section(
    noun: str,
    tables: Mapping[str, pd.DataFrame],
    classes: Names = None,
    *,
    title: str = "",
    pictures: Sequence[Picture] | None = None,
    reading: Callable[..., Reading] | None = None,
    together: Sequence[Picture] = (),
    labels: Mapping[str, str] | None = None,
) -> Section:
    """Return the section of one noun, with one table or one a run.

    Args:
        noun: its name; of an unknown one the tables alone are shown.
        tables: by run; the name ``""`` for a single one, which then needs no name.
        classes: a name for every class.
        title: in place of the noun's own.
        pictures: of one table, likewise.
        reading: of one table, likewise.
        together: pictures of all tables in one frame with a column ``run``, after the others.
        labels: what runs are called in those pictures; their names if not given.
    """
    known = find(noun)
    if known is None:
        return Section(noun, noun.capitalize(), tables=list(tables.items()))
    pictures = known.pictures if pictures is None else pictures
    text, told, figures, refused = [], [], [], set()
    for run, table, read in read_alone(known, tables, reading):
        drawings = pictures if read is not known.reading_of_all else known.pictures_of_all
        where = f"{run}: " if run else ""
        make = [partial(p.figure, table, classes) for p in drawings]
        try:
            said = said_before(read, table, classes)
        except ValueError as error:
            why = why_not(make, error)
            if why not in refused:
                text.append(Part(where=where).refused(why))
            refused |= {why} if not run else set()  # of all is of each
            continue
        part = Part(where + said.sentence, where + said.number, where)
        text.append(part.text)
        told.append(part)
        for i, p in enumerate(drawings):
            caption = f"{where}{in_time(p.caption, table)}"
            figures.append(Shown(caption, make[i], file_name(noun, i, p, run), part=part))
    if together:
        called = [t.assign(run=(labels or {}).get(r, r)) for r, t in tables.items()]
        frame, part = pd.concat(called, ignore_index=True), Part()
        for place, p in enumerate(together, start=len(figures)):
            draw, name = partial(p.figure, frame), file_name(noun, place, p)
            figures.append(Shown(in_time(p.caption, frame), draw, name, part=part))
        told.append(part)
    words = "\n".join(text), numbers(told)
    captions = [excerpt(known, noun, tables)]
    title = title or in_time(known.title, tables)
    return Section(noun, title, *words, figures, captions, parts=told)


def in_time(text: str, tables: pd.DataFrame | Mapping[str, pd.DataFrame]) -> str:
    """Leave "over training" and "at the end" out of a title or caption where there is no course.

    That is where every table has a single step, as those of logits in files have.
    """
    each = [tables] if isinstance(tables, pd.DataFrame) else tables.values()
    if any("step" not in one or one.step.nunique() > 1 for one in each):
        return text
    found = next((end for end in IN_TIME if text.endswith(end)), "")
    return text.removesuffix(found)


def read_alone(
    known: type[Noun], tables: Mapping[str, pd.DataFrame], reading: Callable[..., Reading] | None
) -> list[tuple[str, Any, Callable[..., Reading]]]:
    """Return what is read of a noun: the run, "" for all, its table or all tables, and by what."""
    parts = [(run, table, reading or known.reading) for run, table in tables.items()]
    if len(tables) == 1 or known.reading_of_all is None:
        return parts
    return [("", tables, known.reading_of_all), *(parts if known.beside else [])]


@contextmanager
def read_ahead(
    parts: Tables, classes: Names = None, others: Sequence[Callable[[], Any]] = ()
) -> Iterator[None]:
    """Read tables for the sections made inside, and do other tasks, in several processes if it can.

    Meanwhile this one loads what draws.
    """
    asked = {
        asked_for(read, table, classes): partial(tried, read, table, classes)
        for noun, tables in parts.items()
        if (known := find(noun)) is not None and known.reading is not None
        for _, table, read in read_alone(known, tables, None)
    }
    done = on_cores([*others, *asked.values()], load)
    token = _said.set(dict(zip(asked, done[len(others) :], strict=True)))
    try:
        yield
    finally:
        _said.reset(token)


def said_before(read: Callable[..., Reading], table: Any, classes: Names) -> Reading:
    """Return what a table says, as it was read ahead where it was."""
    said = _said.get().get(asked_for(read, table, classes)) or tried(read, table, classes)
    if isinstance(said, ValueError):
        raise said
    return said


def tried(read: Callable[..., Reading], table: Any, classes: Names) -> Reading | ValueError:
    """Return what a table, or tables by run, say, or why they say nothing."""
    try:
        return read(table, classes)
    except ValueError as error:
        return error


def asked_for(read: Callable[..., Reading], table: Any, classes: Names) -> tuple:
    """Return what tells one reading of tables that stay from another."""
    tables = table.items() if isinstance(table, Mapping) else [("", table)]
    return read, id(classes), *((run, id(one)) for run, one in tables)


def why_not(make: Sequence[Callable[[], object]], error: ValueError) -> str:
    """Return why the first figure cannot be drawn; the error where all can, or there are none."""
    for one in make:
        try:
            one()
        except ValueError as first:
            return str(first)
    return str(error)


def file_name(noun: str, place: int, picture: Picture, run: str = "") -> str:
    """Return what the files of a picture are called: the noun's first by it, the others by theirs.

    Args:
        noun: the table's name.
        place: 0 for the first.
        picture: what is drawn; its name is that of its drawing, where it has none of its own.
        run: whose it is, where there are several.
    """
    name = picture.name or (picture.draw.__name__ if place else noun)
    return re.sub(r"[^\w.-]+", "-", f"{name}-{run}" if run else name)


def excerpt(
    known: type[Noun], noun: str, tables: Mapping[str, pd.DataFrame]
) -> tuple[str, pd.DataFrame]:
    """Return what a page shows of the tables, with its caption: numbers of one too long for it."""
    try:
        if known.excerpt:
            parts = {run: known.excerpt(table) for run, table in tables.items()}
            return f"Numbers of the table {noun}, too long for a page{about(known)}", joined(parts)
    except ValueError:  # nothing in it to sum up, as the section says
        pass
    return f"Table {noun}{about(known)}", joined(tables)


def about(known: type[Noun] | None) -> str:
    """Return what the rows of a table are, as the rest of its caption."""
    first = (known.__doc__ or "").strip().partition("\n")[0] if known else ""
    first = first.replace("`", "").replace("**", "").replace("1 - p", REST)
    return f": {first}" if first else ""


def with_conflict(parts: Tables) -> dict[str, dict[str, pd.DataFrame]]:
    """Return the tables by noun and run; after ``layers`` those of its conflict.

    Runs of a single term are left out of the conflict, which goes where no run is left.
    """
    found = {}
    for noun, tables in parts.items():
        found[noun] = dict(tables)
        if noun == "layers":
            several = {r: t for r, t in tables.items() if (t.term_a != t.term_b).any()}
            found |= {"layer_conflict": several} if several else {}
    return found
