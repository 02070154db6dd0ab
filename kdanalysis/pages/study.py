"""Study: what was found in logits, as tables, sentences, pictures, a page and a folder."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from kdanalysis.analyzers import load_nouns
from kdanalysis.analyzers.noun import Noun, Picture, Reading, figure_of
from kdanalysis.core.arguments import typed
from kdanalysis.core.garbage import uncollected
from kdanalysis.core.wording import Named, counted
from kdanalysis.draw.glyphs import tell_lacking
from kdanalysis.pages.explorer import Explorer
from kdanalysis.pages.html import Section
from kdanalysis.pages.lead import Lead
from kdanalysis.pages.nouns import read_ahead, tried
from kdanalysis.pages.publish import figure_kinds, output_folder
from kdanalysis.studies.compute import joined

Tables = Mapping[str, Mapping[str, pd.DataFrame]]


class Study:
    """What was found: ``tables`` by name, ``readings``, pictures, and a page of all of it.

    Nothing is drawn before a figure or the page is asked for. A notebook shows title, facts and
    readings; ``save`` writes the page with its tables.

    Args:
        title: heading of the page.
        facts: what the numbers come from, as (label, value) pairs.
        parts: tables by noun, then by run; the name ``""`` for a single one.
        sections: makes the sections of the page.
        classes: a name for every class.
        formats: of the tables in a folder, "csv" and "parquet".
        pictures: of nouns, in place of their own.
        lead: makes what stands first on the page.
        explorer: sliders for k, T and weights, which a notebook shows by itself too; None where
            there are no logits of both sides.
    """

    def __init__(
        self,
        title: str,
        facts: Mapping[str, object],
        parts: Tables,
        sections: Callable[[], Sequence[Section]],
        classes: Sequence[str] | None = None,
        formats: tuple[str, ...] = ("csv",),
        pictures: Mapping[str, Sequence[Picture]] | None = None,
        lead: Callable[[], Lead | None] = lambda: None,
        explorer: Explorer | None = None,
    ) -> None:
        self.title, self.facts, self.parts, self._sections = title, facts, parts, sections
        self.classes, self.formats, self._pictures = classes, formats, pictures or {}
        self._lead, self.explorer = lead, explorer

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, with a first column ``run`` where they are of several."""
        return Named((noun, joined(of_noun)) for noun, of_noun in self.parts.items())

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """Sentence and number of every table that has them; of several runs those of each."""
        found = Named()
        for noun, of_noun in self.parts.items():
            known = load_nouns().get(noun)
            if known is not None and known.reading is not None:
                found[noun] = self._read(known, of_noun)
        return found

    @typed
    def figure(
        self,
        name: str,
        ax: Any = None,
        *,
        run: str = "",
        picture: int = 0,
        **options: Any,
    ) -> Any:
        """Draw a picture of a table; return the axes, or a figure that a notebook shows.

        Args:
            name: of the table.
            ax: axes, a subfigure or a figure to draw on; a figure of its own if None.
            run: which of several; all in one picture, or the first, if not given.
            picture: which of the table's pictures.
            **options: ``labels`` of terms and losses; others of the drawing, such as
                ``temperature`` of a sweep.

        Raises:
            ValueError: no such table, run or picture, or nothing in it to draw.
        """
        known, of_noun = load_nouns().get(name), self.parts.get(name, {})
        together = known is not None and len(of_noun) > 1 and not run and known.pictures_of_all
        drawn = known.pictures_of_all if together else self._pictures_of(name)
        table = of_noun if together else of_noun.get(run or next(iter(of_noun), ""))
        drawn = () if table is None else drawn
        if not 0 <= picture < len(drawn):
            raise ValueError(self._no_picture(name, run, picture, len(drawn)))
        shown = drawn[picture].of(table, self.classes, ax, **options)
        return shown if ax is not None else figure_of(shown)

    @cached_property
    def planned(self) -> Sequence[Section]:
        """The sections of the page as they are if all their figures can be drawn."""
        return self._sections()

    @cached_property
    def sections(self) -> Sequence[Section]:
        """The sections of the page, their figures made."""
        return [section.settled() for section in self.planned]

    @cached_property
    def lead(self) -> Lead | None:
        """What stands first on the page; None where nothing does."""
        return self._lead()

    def html(self) -> str:
        """Return the page as one self-contained file."""
        return self._page()

    def _page(self, others: Sequence[Callable[[], object]] = (), kinds: Sequence[str] = ()) -> str:
        """Return the page, after other tasks that are done while its tables are read.

        Its figures are drawn as these kinds of files too.
        """
        from kdanalysis.pages.html.page import build

        unread = {} if "planned" in vars(self) else self.parts
        with uncollected(), read_ahead(unread, self.classes, others):
            return build(self.planned, self.title, self.facts, self.lead, self.explorer, kinds)

    @typed
    def save(
        self, folder: str | Path, overwrite: bool = False, figures: str | Sequence[str] = ()
    ) -> None:
        """Write report.html and tables into a new folder, all of it or nothing.

        Args:
            folder: where; it must not exist unless ``overwrite``.
            overwrite: replace what an earlier call wrote.
            figures: write the page's figures too, as "svg", "png", "pdf" or several of them.

        Raises:
            FileExistsError: the folder is in use.
            ValueError: another kind of figures.
        """
        kinds = figure_kinds(figures)
        with output_folder(Path(folder), overwrite) as building:
            self.write(building, kinds)

    @typed
    def write(self, folder: Path, figures: str | Sequence[str] = ()) -> None:
        """Write report.html, tables/NAME.csv and, where asked, figures/NAME.svg and so on.

        The folder is empty. Tables also as .parquet where the study has that format.
        """
        (folder / "tables").mkdir()
        files = {folder / "tables" / name: table for name, table in self.tables.items()}
        if "parquet" in self.formats:
            for path, table in files.items():
                table.to_parquet(path.with_name(f"{path.name}.parquet"), index=False)
        writing = [
            partial(table.to_csv, path.with_name(f"{path.name}.csv"), index=False)
            for path, table in files.items()
        ]
        kinds = figure_kinds(figures)
        (folder / "report.html").write_text(self._page(writing, kinds), encoding="utf-8")
        if kinds:
            (folder / "figures").mkdir()
            self.write_figures(folder / "figures", kinds)

    @typed
    def write_figures(self, folder: Path, kinds: str | Sequence[str]) -> None:
        """Write the page's figures; one has the name of its table, and of its run or its drawing.

        As ``share``, ``magnitude-kd``, ``direction_by_teacher-kd``. Names that differ only in
        letters no file should have are numbered.
        """
        names, kinds = Counter[str](), figure_kinds(kinds)
        first = self.lead.figures if self.lead else ()
        figures = [*first, *(one for section in self.sections for one in section.figures)]
        for shown in figures:
            names[shown.name] += 1
            number = f"-{names[shown.name]}" if names[shown.name] > 1 else ""
            shown.drawn.write(folder / f"{shown.name}{number}", kinds)
        told = [shown.drawn for shown in figures if shown.drawn.lacking]
        tell_lacking((drawn.figure, drawn.lacking) for drawn in told)

    def _no_picture(self, name: str, run: str, picture: int, drawn: int) -> str:
        """Say which picture there is not, and which there are."""
        if drawn:
            there = counted(drawn, "picture")
            return f"there is no picture {picture} of {name!r}: it has {there}, counted from 0"
        nouns = [noun for noun in self.parts if self._pictures_of(noun)]
        near = "".join(f"did you mean {one!r}? " for one in get_close_matches(name, nouns, 1))
        of_run = f" of {run}" if run else ""
        there = ", ".join(nouns)
        return f"there is no picture of {name!r}{of_run}; {near}there are pictures of: {there}"

    def _pictures_of(self, noun: str) -> Sequence[Picture]:
        return self._pictures.get(noun, getattr(load_nouns().get(noun), "pictures", ()))

    def _read(self, known: type[Noun], of_noun: Mapping[str, pd.DataFrame]) -> Reading:
        if len(of_noun) > 1 and known.reading_of_all is not None:
            return readable(tried(known.reading_of_all, of_noun, self.classes))
        read = {run: tried(known.reading, table, self.classes) for run, table in of_noun.items()}
        found = {run: readable(one) for run, one in read.items()}
        first = next(iter(read))
        if isinstance(read[first], ValueError) and len({*found.values()}) == 1:
            return found[first]
        lines = zip(*(
            [f"{run}: {text}" if len(found) > 1 and text else text for text in reading]
            for run, reading in found.items()
        ), strict=True)  # fmt: skip
        return Reading(*("\n".join(filter(None, texts)) for texts in lines))

    def _repr_html_(self) -> str:
        rows = [
            f"<dt>{escape(load_nouns()[noun].title)} <code>{noun}</code></dt>"
            f"<dd>{escape(reading.sentence)}<br><small>{escape(reading.number)}</small></dd>"
            for noun, reading in self.readings.items()
        ]
        facts = "; ".join(f"{label} {value}" for label, value in self.facts.items())
        names = ", ".join(self.tables)
        return (
            f"<h3>{escape(self.title)}</h3><p>{escape(facts)}</p><dl>{''.join(rows)}</dl>"
            f"<p><code>.tables</code>: {escape(names)}. <code>.figure(name)</code> draws one, "
            f"<code>.save(folder)</code> writes the page.</p>"
        )

    def __repr__(self) -> str:
        return f"<Study {self.title!r}: tables {', '.join(self.tables)}>"


def readable(said: Reading | ValueError) -> Reading:
    """Return what a table says, or why it says nothing."""
    if isinstance(said, Reading):
        return said
    return Reading(f"Not to be read from these data: {said}.")
