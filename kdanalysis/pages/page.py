"""A page with everything that belongs to it, and its folder of tables, figures and one report."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from kdanalysis.report import Section, build


@dataclass(frozen=True)
class Page:
    """Title, facts and sections of a page, and the tables by the name of their file."""

    title: str
    facts: Mapping[str, object]
    sections: Sequence[Section]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def html(self) -> str:
        """Return the page as one self-contained file."""
        return build(self.sections, self.title, self.facts)


def write_folder(page: Page, folder: Path) -> None:
    """Write report.html, tables/NAME.csv, and figures/NAME.png and .svg into a folder that exists.

    A figure has the name of its section; a second one of the same section ends in ``-2``.
    """
    for name in ("tables", "figures"):
        (folder / name).mkdir()
    for name, table in page.tables.items():
        table.to_csv(folder / "tables" / f"{name}.csv", index=False)
    for section in page.sections:
        for place, (_, figure) in enumerate(section.figures, start=1):
            name = section.name if place == 1 else f"{section.name}-{place}"
            save_figure(figure, folder / "figures" / name)
    (folder / "report.html").write_text(page.html(), encoding="utf-8")


def save_figure(figure: Figure, path: Path) -> None:
    """Write ``path``.png and ``path``.svg; equal figures give equal bytes."""
    with mpl.rc_context({"svg.hashsalt": "kdanalysis", "svg.fonttype": "path"}):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            figure.savefig(
                path.with_name(f"{path.name}.{kind}"),
                format=kind,
                metadata=metadata,
                bbox_inches="tight",
                dpi=160,
            )


def anchor(text: str) -> str:
    """Return a name for a section or a file: letters, digits and dashes of ``text``."""
    return "s-" + re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")
