"""Frames and facts as text: columns that line up, whole when piped, fitted in a terminal."""

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from rich.console import Console
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
    return f"{name}: {source.num_rows:,} samples, {source.info.num_classes} classes{more}"


def print_frame(frame: "pd.DataFrame", title: str = "") -> None:
    """Print every row; numbers are right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from kdanalysis.draw.text import format_column, is_numeric

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in frame.columns:
        table.add_column(literal(name), justify="right" if is_numeric(frame[name]) else "left")
    for cells in zip(*(format_column(frame[name]) for name in frame.columns), strict=True):
        table.add_row(*map(literal, cells))
    show([literal(title, "bold")] if title else [], table)


def print_facts(facts: Mapping[str, object], title: str = "") -> None:
    """Print label and value, one pair a line."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for label, value in facts.items():
        table.add_row(literal(label, "dim"), literal(value))
    show([literal(title, "bold")] if title else [], table)


def literal(value: object, style: str = "") -> "Text":
    """Show a name exactly: no markup, and no control character reaches the terminal."""
    from rich.text import Text

    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return Text("".join(shown), style=style)


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
