"""Frames and facts as text: columns that line up, whole when piped, fitted in a terminal."""

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kdanalysis.core.wording import counted, printable

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from kdanalysis.store.run import StoredRun
    from kdanalysis.store.sources import Logits
    from kdanalysis.studies.source import Source


def open_file(
    path: "Path | Logits",
    keys: Mapping[str, str],
    vocabulary: int | None = None,
    kept: bool = False,
) -> "Source":
    """Open logits or a run, and say which of its parts cannot be read; ``kept`` as open_source."""
    from kdanalysis.studies.opening import open_source

    source = open_source(path, keys=keys, vocabulary=vocabulary, kept=kept)
    warn_of_skipped(source.run)
    return source


def heading(source: "Source", name: object, more: str = "") -> str:
    """Return the title of what was read: how many samples of how many classes."""
    from kdanalysis.studies.facts import cut_fact

    cut = cut_fact(source)
    more += f" ({cut})" if cut else ""
    classes = f"{source.info.num_classes:,} classes"
    return f"{name}: {counted(source.num_rows, 'sample')}, {classes}{more}"


def print_frame(frame: "pd.DataFrame", title: str = "") -> None:
    """Print every row; numbers are right-aligned. What a terminal is too narrow for is folded."""
    from rich.text import Text

    from kdanalysis.draw.text import format_column, is_numeric

    columns = {
        printable(name): [is_numeric(frame[name]), *map(printable, format_column(frame[name]))]
        for name in frame.columns
    }
    head, *rows = rows_of(columns)
    console, width = make_console(), len(head)
    if title:
        console.print(literal(title, "bold"))
    if width > console.width:
        console.print(folded(columns))
        return
    body = "".join(f"\n{row.rstrip()}" for row in ("─" * width, *rows))
    console.print(Text.assemble((head.rstrip(), "bold"), body), crop=False)


def rows_of(columns: Mapping[str, list]) -> list[str]:
    """Return names and cells as lines of one width; the first of a column: whether numbers."""
    from rich.cells import cell_len

    aligned = []
    for name, (numbers, *cells) in columns.items():
        width = max(map(cell_len, (name, *cells)))
        room = [" " * (width - cell_len(text)) for text in (name, *cells)]
        pairs = zip(room, (name, *cells), strict=True)
        aligned.append([gap + text if numbers else text + gap for gap, text in pairs])
    return ["   ".join(row) for row in zip(*aligned, strict=True)]


def folded(columns: Mapping[str, list]) -> "Table":
    """Return a table that fits a terminal; the first of a column says whether it is of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, (numbers, *_) in columns.items():
        table.add_column(Text(name), justify="right" if numbers else "left")
    for cells in zip(*(cells for _, *cells in columns.values()), strict=True):
        table.add_row(*map(Text, cells))
    return table


def print_facts(facts: Mapping[str, object], title: str = "") -> None:
    """Print label and value, one pair a line."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for label, value in facts.items():
        table.add_row(literal(label, "dim"), literal(value))
    show([literal(title, "bold")] if title else [], table)


def literal(value: object, style: str = "") -> "Text":
    """Show a name exactly, without markup; see :func:`printable`."""
    from rich.text import Text

    return Text(printable(value), style=style)


def show(lines: Iterable[object], table: object) -> None:
    """Print on stdout; a pipe or a file gets the full width, so that nothing is cut."""
    console = make_console()
    for line in (*lines, table):
        console.print(line)


def make_console() -> "Console":
    """Return the terminal, or an endless line where stdout is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)


def warn_of_skipped(run: "StoredRun | None") -> None:
    """Say on stderr which parts of a run cannot be read; silent for a whole run, or none."""
    from kdanalysis.core.ranks import RANKS
    from kdanalysis.studies.facts import skipped_fact

    skipped = run.skipped if run is not None and RANKS.first else []
    if skipped:
        noun, which = "part is" if len(skipped) == 1 else "parts are", skipped_fact(skipped)
        print(
            f"kdanalysis: warning: {run.path} is not whole, {noun} left out: {which}",
            file=sys.stderr,
        )
