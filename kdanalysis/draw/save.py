"""Figures on disk: the same figure gives the same bytes."""

from pathlib import Path

import matplotlib as mpl

from kdanalysis.draw.look import Axes, Figure


def save_figure(
    figure: Figure, path: Path, formats: tuple[str, ...] = ("png", "svg")
) -> list[Path]:
    """Write ``path`` with each format as its suffix, and return the files.

    No date and a fixed salt: equal figures are equal files. SVG keeps its texts as paths, so that
    it looks the same where the font is missing.
    """
    files = []
    for kind in formats:
        file = path.with_name(f"{path.name}.{kind}")
        nothing = {"svg": {"Date": None}, "png": {"Software": None}}.get(kind)
        settings = {"svg.hashsalt": "kdanalysis", "svg.fonttype": "path"}
        with mpl.rc_context(settings):
            figure.savefig(file, dpi=200, bbox_inches="tight", facecolor="white", metadata=nothing)
        files.append(file)
    return files


def count_marks(figure: Figure) -> int:
    """Marks that an SVG of the figure would hold: lines, markers, bars, cells.

    Beyond some thousands a page is better served by PNG.
    """
    return sum(_axes_marks(ax) for ax in figure.axes)


def _axes_marks(ax: Axes) -> int:
    markers = [len(line.get_xdata()) for line in ax.lines if line.get_marker() not in ("None", "")]
    cells = [
        collection.get_array().size
        if hasattr(collection, "get_coordinates")
        else max(len(collection.get_paths()), len(collection.get_offsets()))
        for collection in ax.collections
    ]
    return len(ax.lines) + sum(markers) + sum(cells) + len(ax.patches) + len(ax.images)
