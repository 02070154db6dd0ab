"""One self-contained, offline page of sections, pictures and tables."""

from kdanalysis.report.page import build
from kdanalysis.report.section import Section, Tile

__all__ = ["Section", "Tile", "build"]
