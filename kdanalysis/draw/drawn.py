"""A figure laid out once: the page that shows it and its files are drawn from that one layout."""

import io
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdanalysis.draw.glyphs import noted
from kdanalysis.draw.look import Axes, Figure
from kdanalysis.draw.still import still

if TYPE_CHECKING:
    from matplotlib.transforms import Bbox
else:  # loaded when something is drawn
    Bbox = Any

DOTS_PER_INCH = 200  # of a PNG: sharp on paper
EDGE = 0.1  # inches of paper around what is drawn
UNDATED = {"svg": ("Date", "Creator", "Format", "Type"), "png": ("Software",)}
SETTINGS = {
    "svg.hashsalt": "kdanalysis",
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "pdf.fonttype": 42,
}


def load() -> None:
    """Load what draws, which takes a while, before something is drawn."""
    import kdanalysis.draw.figure  # noqa: F401


class Drawn:
    """A figure that is made and laid out once, and drawn at most once as SVG, as PNG and as PDF.

    No date and a fixed salt: equal figures are equal bytes. The texts of an SVG are texts, which
    can be found and edited; a PDF brings its fonts. ``files`` are those drawn so far, by kind;
    ``lacking`` are letters that no font has, as :func:`noted` when it is first laid out.

    Args:
        make: makes the figure when it is first needed; it is to be changed no more.
    """

    def __init__(self, make: Callable[[], Figure]) -> None:
        self._make = make
        self.files: dict[str, bytes] = {}
        self.lacking: dict[str, str] = {}

    @cached_property
    def figure(self) -> Figure:
        """The figure."""
        return self._make()

    @cached_property
    def box(self) -> Bbox:
        """Lay the figure out for good, and return what of it is drawn on, in inches."""
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        renderer = FigureCanvasAgg(self.figure).get_renderer()
        engine = self.figure.get_layout_engine()
        with still(self.figure), noted({} if self.files else self.lacking):
            if engine is not None:
                engine.execute(self.figure)
                plain = {"figure.autolayout": False, "figure.constrained_layout.use": False}
                with mpl.rc_context(plain):
                    self.figure.set_layout_engine(None)
            return self.figure.get_tightbbox(renderer).padded(EDGE)

    def as_bytes(self, kind: str) -> bytes:
        """Return the figure as "svg", "png" or "pdf", on white paper."""
        import matplotlib as mpl

        if kind not in self.files:
            buffer = io.BytesIO()
            nothing = dict.fromkeys(UNDATED.get(kind, ("CreationDate", "Creator", "Producer")))
            look = {"dpi": DOTS_PER_INCH, "bbox_inches": self.box, "facecolor": "white"}
            with mpl.rc_context(SETTINGS), still(self.figure), noted({}):
                self.figure.savefig(buffer, format=kind, metadata=nothing, **look)
            self.files[kind] = buffer.getvalue()
        return self.files[kind]

    def take(self, files: dict[str, bytes], lacking: dict[str, str]) -> None:
        """Have what a copy of this in another process has drawn, and the letters it lacked.

        Where it lacked some this is laid out too: only then its ticks have the texts to be told.
        """
        if lacking:
            self.box  # noqa: B018
        self.files |= files
        self.lacking |= lacking

    def write(self, path: Path, kinds: Sequence[str]) -> None:
        """Write ``path`` with every kind as its suffix."""
        for kind in kinds:
            path.with_name(f"{path.name}.{kind}").write_bytes(self.as_bytes(kind))

    @cached_property
    def marks(self) -> int:
        """Lines, markers, bars and cells, which an SVG would hold one by one."""
        return sum(_axes_marks(ax) for ax in self.figure.axes)


def _axes_marks(ax: Axes) -> int:
    markers = [len(line.get_xdata()) for line in ax.lines if line.get_marker() not in ("None", "")]
    cells = [
        collection.get_array().size
        if hasattr(collection, "get_coordinates")
        else max(len(collection.get_paths()), len(collection.get_offsets()))
        for collection in ax.collections
    ]
    return len(ax.lines) + sum(markers) + sum(cells) + len(ax.patches) + len(ax.images)
