"""One self-contained, offline page of sections, pictures and tables."""

from kdanalysis.pages.html.section import Section, Shown, Tile

__all__ = ["Section", "Shown", "Tile"]
