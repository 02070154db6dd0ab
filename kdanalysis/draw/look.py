"""The look that all figures share: sizes, axes, legends."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from kdanalysis.core.arguments import typed
from kdanalysis.draw.glyphs import noted
from kdanalysis.draw.place import host

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
else:  # loaded when something is drawn, for a table needs no matplotlib
    Axes = Axis = Figure = Any

COLUMN, PAGE = 5.0, 7.0  # widths in inches; readable when printed at half of them
NARROW = 6.2  # of a figure of many letters, which are larger so in a column of a page
STEPS = (1, 2, 2.5, 5, 10)  # between ticks
FINE = 0.9  # of the font's size: ticks, legends and numbers in cells
RC = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "figure.max_open_warning": 0,
}

P = ParamSpec("P")
R = TypeVar("R")


def settings() -> dict[str, Any]:
    """Return the shared settings, but for those that the caller has set otherwise.

    A setting that is not matplotlib's default is the caller's. Sizes follow the caller's font.
    """
    import matplotlib as mpl

    size = mpl.rcParams["font.size"]
    fine_names = ("xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    sizes = dict.fromkeys(("axes.labelsize", "axes.titlesize"), size)
    sizes |= dict.fromkeys(fine_names, FINE * size)
    usual = mpl.rcParamsDefault
    return {k: value for k, value in (RC | sizes).items() if mpl.rcParams[k] == usual[k]}


def fine() -> float:
    """Size of small texts, in points."""
    import matplotlib as mpl

    return FINE * mpl.rcParams["font.size"]


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under the shared settings that the caller has not set otherwise.

    Letters that the font lacks are told when the figure is shown, not when it is measured.
    """

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context(settings()), noted({}):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """A figure that nobody has to close, sizes in inches; a notebook shows it by itself.

    Inside :func:`drawing_on` it is the caller's, whose size stays.
    """
    from kdanalysis.draw.figure import Drawing

    if host.get() is not None:
        return host.get()
    return Drawing(figsize=(width, height), layout=layout)


@typed
def new_axes(width: float = COLUMN, height: float = 3.2) -> Axes:
    """Axes of a new figure, sizes in inches; a ValueError where one is not above 0."""
    if min(width, height) <= 0:
        raise ValueError(f"need a width and a height above 0 inches, got {width} and {height}")
    return new_figure(width, height).subplots()


def new_panels(
    rows: int, columns: int, figsize: tuple[float, float], **shared: Any
) -> tuple[Figure, Any]:
    """A new figure with a grid of axes; ``shared`` as matplotlib's ``Figure.subplots`` takes it."""
    figure = new_figure(*figsize)
    return figure, figure.subplots(rows, columns, **shared)


def plain_log(ax: Axes) -> None:
    """Make the vertical axis logarithmic, its numbers written as they are: 0.5, 20."""
    from kdanalysis.draw.figure import PlainFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(PlainFormatter(minor_thresholds=(1.2, 0.4)))


def few_ticks(axis: Axis, most: int, integer: bool = False) -> None:
    """Let an axis have at most so many intervals between its ticks."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=integer, steps=None if integer else STEPS))


def slant_ticks(ax: Axes) -> None:
    """Turn the labels below the axes, where they are too long to stand side by side."""
    for label in ax.get_xticklabels():
        label.set(rotation=35, ha="right", rotation_mode="anchor")


def side_legend(ax: Axes, title: str | None = None) -> None:
    """Legend beside the axes, where it covers no data; its texts are shown as they are."""
    legend = ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        title=title,
        borderaxespad=0,
        handlelength=3,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def even_columns(count: int, most: int) -> int:
    """Columns of so many things in as few lines as hold them, filled evenly: 7 of 6 stand in 4."""
    return -(-count // -(-count // most)) if count else 1


def top_legend(ax: Axes, columns: int, title: str | None = None) -> None:
    """Legend above the axes, at most six texts a line; its texts are shown as they are."""
    legend = ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.01),
        frameon=False,
        ncols=even_columns(columns, 6),
        title=title,
        borderaxespad=0,
        alignment="left",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def shared_legend(figure: Figure, ax: Axes, place: str, **look: Any) -> Any:
    """Legend of one of a figure's axes outside of all, such as "upper right"; texts as they are."""
    look = {"loc": f"outside {place}", "frameon": False} | look
    legend = figure.legend(*ax.get_legend_handles_labels(), **look)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return legend
