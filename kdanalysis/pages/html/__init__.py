"""One self-contained, offline page of sections, pictures and tables."""

from kdanalysis.pages.html.section import ASIDE, Part, Section, Shown, Tile

__all__ = ["ASIDE", "Part", "Section", "Shown", "Tile"]
