"""What the figures are made of that matplotlib does not have; loaded when something is drawn."""

import io
import re
from copy import copy
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from matplotlib.axes import Axes
from matplotlib.axis import Tick, XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, LogFormatterSciNotation

from kdanalysis.draw.glyphs import noted, tell_lacking

RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
PARTS = ("tick1line", "tick2line", "gridline", "label1", "label2")  # of a tick


class Drawing(Figure):
    """A figure beside pyplot: it goes when nobody holds it, and a notebook shows it by itself."""

    def add_subplot(self, *args: Any, **kwargs: Any) -> Axes:
        """Add axes, as ``Figure.add_subplot`` does; ``subplots`` adds its own by it too."""
        return super().add_subplot(*args, **({"axes_class": QuickAxes} | kwargs))

    def _repr_png_(self) -> bytes:
        buffer, lacking = io.BytesIO(), {}
        with noted(lacking):
            self.savefig(buffer, format="png", dpi=110, bbox_inches="tight", facecolor="white")
        tell_lacking([(self, lacking)])
        return buffer.getvalue()


class QuickText(Text):
    """A text that is laid out once for every text like it that a renderer is asked of."""

    _known: ClassVar[WeakKeyDictionary[Any, dict[tuple, tuple]]] = WeakKeyDictionary()

    def _get_layout(self, renderer: Any) -> tuple:
        if self.get_wrap() or self.get_transform_rotates_text():  # as its place asks
            return super()._get_layout(renderer)
        known = self._known.setdefault(renderer, {})
        key = (
            *(self.get_text(), hash(self.get_fontproperties()), self.get_figure(root=True).dpi),
            *(self.get_rotation(), self.get_rotation_mode(), self.get_parse_math()),
            *(self.get_ha(), self.get_va(), self._get_multialignment()),
            *(self.get_usetex(), self._linespacing),
        )
        if key not in known:
            known[key] = super()._get_layout(renderer)
        return known[key]


class CopiedTicks:
    """Makes the first tick of an axis; the others are copies of it.

    matplotlib makes every tick from its settings and then sets all of it to what the first one has,
    which takes seventeen times as long.
    """

    def _get_tick(self, major: bool) -> Tick:
        made = vars(self).get("majorTicks" if major else "minorTicks")
        if made:
            return copied(made[0])
        tick = super()._get_tick(major)
        tick.label1.__class__ = tick.label2.__class__ = QuickText
        return tick

    def _copy_tick_props(self, src: Tick, dest: Tick) -> None:
        """Do nothing: a copy has them."""

    def set_major_formatter(self, formatter: Any) -> None:
        """Take it, or what writes the powers of a logarithmic axis as letters in its place."""
        if type(formatter) is LogFormatterSciNotation and formatter._base == 10:
            formatter = PowerFormatter()
        super().set_major_formatter(formatter)


class QuickXAxis(CopiedTicks, XAxis):
    """A horizontal axis with copied ticks."""


class QuickYAxis(CopiedTicks, YAxis):
    """A vertical axis with copied ticks."""


class QuickAxes(Axes):
    """Axes with copied ticks."""

    def _init_axis(self) -> None:
        super()._init_axis()
        self.xaxis.__class__, self.yaxis.__class__ = QuickXAxis, QuickYAxis
        self.xaxis.label.__class__ = self.yaxis.label.__class__ = QuickText


def copied(tick: Tick) -> Tick:
    """Return a tick like this one, which shares nothing with it that is ever changed."""
    new = copy(tick)
    for name in PARTS:
        setattr(new, name, copy(getattr(tick, name)))
    for label in (new.label1, new.label2):
        label.set_fontproperties(label.get_fontproperties().copy())
    return new


class PowerFormatter(LogFormatterSciNotation):
    """Writes 10⁻², as its parent does by a formula, which takes longer than the axis around it."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the text of a tick."""
        formula = super().__call__(x, pos)
        power = re.fullmatch(r"\$\\mathdefault\{10\^\{(-?\d+)\}\}\$", formula)
        return f"10{power[1].translate(RAISED)}" if power else formula


class PlainFormatter(LogFormatter):
    """Chooses as its parent does which numbers have a place, and writes 0.6 instead of 6e-01."""

    def _num_to_string(self, x: float, vmin: float, vmax: float) -> str:
        return f"{x:g}"
