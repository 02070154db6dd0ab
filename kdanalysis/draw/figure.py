"""What the figures are made of that matplotlib does not have; loaded when something is drawn."""

import io

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter


class Drawing(Figure):
    """A figure beside pyplot: it goes when nobody holds it, and a notebook shows it by itself."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110, bbox_inches="tight", facecolor="white")
        return buffer.getvalue()


class PlainFormatter(LogFormatter):
    """Chooses as its parent does which numbers have a place, and writes 0.6 instead of 6e-01."""

    def _num_to_string(self, x: float, vmin: float, vmax: float) -> str:
        return f"{x:g}"
