"""A page with everything that belongs to it, and its folder of tables, figures and one report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from kdanalysis.draw.save import save_figure
from kdanalysis.pages.html import Section, build


@dataclass(frozen=True)
class Page:
    """Title, facts and sections of a page, the tables by the name of their file, its formats."""

    title: str
    facts: Mapping[str, object]
    sections: Sequence[Section]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    formats: tuple[str, ...] = ("csv",)

    def html(self) -> str:
        """Return the page as one self-contained file."""
        return build(self.sections, self.title, self.facts)


def write_folder(page: Page, folder: Path) -> None:
    """Write report.html, tables/NAME.csv, and figures/NAME.png and .svg into a folder that exists.

    Tables also as .parquet where the page has that format. A figure has the name of its section; a
    second one of the same section ends in ``-2``. The figures are closed.
    """
    for name in ("tables", "figures"):
        (folder / name).mkdir()
    for name, table in page.tables.items():
        table.to_csv(folder / "tables" / f"{name}.csv", index=False)
        if "parquet" in page.formats:
            table.to_parquet(folder / "tables" / f"{name}.parquet", index=False)
    (folder / "report.html").write_text(page.html(), encoding="utf-8")
    for section in page.sections:
        for place, (_, figure) in enumerate(section.figures, start=1):
            name = section.name if place == 1 else f"{section.name}-{place}"
            save_figure(figure, folder / "figures" / name)
    close_figures(page.sections)


def close_figures(sections: Iterable[Section]) -> None:
    """Forget the figures, which matplotlib otherwise keeps."""
    for section in sections:
        for _, figure in section.figures:
            plt.close(figure)
