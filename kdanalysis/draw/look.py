"""The look that all figures share: sizes, one colour a term, and labels that come from users."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pandas as pd

from kdanalysis.core.arguments import typed
from kdanalysis.draw.place import host
from kdanalysis.draw.settings import settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
else:  # loaded when something is drawn, for a table needs no matplotlib
    Axes = Axis = Figure = Any

COLUMN, PAGE = 5.0, 7.0  # widths in inches; readable when printed at half of them


GREY = "#7f7f7f"
FAINT = "#bdbdbd"
INK = "#14213d"  # on coloured cells; not black, which a dark page turns into white
ORANGE, SKY, GREEN, BLUE = "#e69f00", "#56b4e9", "#009e73", "#0072b2"
VERMILION, PURPLE = "#d55e00", "#cc79a7"
OLIVE, WINE = "#999933", "#882255"

# Okabe and Ito's colours, which the colour-blind tell apart; its yellow and black are left out,
# as they vanish on white and on dark pages. Olive and wine are from Paul Tol's muted scheme.
PALETTE = {
    "grey": GREY,
    "orange": ORANGE,
    "blue": BLUE,
    "green": GREEN,
    "vermilion": VERMILION,
    "sky": SKY,
    "purple": PURPLE,
    "olive": OLIVE,
    "wine": WINE,
}
CYCLE = (ORANGE, BLUE, VERMILION, GREEN, PURPLE, SKY, GREY)
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under the shared settings that the caller has not set otherwise."""

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context(settings()):
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


_asked: list[Callable[[str], str | None]] = []  # who knows the colours of terms


def let_name_colours(of_term: Callable[[str], str | None]) -> None:
    """Let a function say which colour a term has: a name of the palette or any of matplotlib's."""
    _asked[:] = [of_term]


def term_colour(term: str) -> str:
    """Colour of a term; terms of other names (``low_3``, ``gdkd:high``) take one by their name."""
    bare = term.rsplit(":", 1)[-1]
    named = next((colour for ask in _asked if (colour := ask(bare))), None)
    return PALETTE.get(named, named) or CYCLE[sum(bare.encode()) % len(CYCLE)]


def ink_on(colour: str) -> str:
    """Colour of a number written on ``colour``: white on the dark ones."""
    return INK if colour in (ORANGE, SKY, PURPLE, OLIVE, FAINT) else "white"


def plain_log(ax: Axes) -> None:
    """Make the vertical axis logarithmic, its numbers written as they are: 0.5, 20."""
    from kdanalysis.draw.figure import PlainFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(PlainFormatter(minor_thresholds=(1.2, 0.4)))


def few_ticks(axis: Axis, most: int, integer: bool = False) -> None:
    """Let an axis have at most so many intervals between its ticks."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=integer))


def slant_ticks(ax: Axes) -> None:
    """Turn the labels below the axes, where they are too long to stand side by side."""
    for label in ax.get_xticklabels():
        label.set(rotation=35, ha="right", rotation_mode="anchor")


def ladder_colours(values: Iterable[float | int]) -> dict[float | int, tuple]:
    """Colours of an ordered series such as temperatures, dark to light."""
    import matplotlib as mpl

    ordered = sorted(set(values))
    scale = mpl.colormaps["viridis"]
    return {v: scale(0.05 + 0.75 * i / max(len(ordered) - 1, 1)) for i, v in enumerate(ordered)}


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


def state_left_out(table: pd.DataFrame) -> str:
    """Second line for an axis label that says how many samples the table leaves out, or nothing."""
    count = int(table.non_finite.max()) if "non_finite" in table and len(table) else 0
    return (
        f"\n({count:,} {'sample' if count == 1 else 'samples'} with NaN or inf left out)"
        if count
        else ""
    )


SYNSET = re.compile(r"[a-z]\d{8} (?=\S)")


def short(name: object, length: int = 16) -> str:
    """A class name on one line; a longer one loses its middle, as names often differ at the end."""
    line = " ".join(str(name).split())
    tail = length // 3
    return line if len(line) <= length else f"{line[: length - tail - 1]}…{line[-tail:]}"


def class_names(count: int, names: Sequence[str] | None) -> list[str]:
    """Names of all classes, their numbers where none are given.

    WordNet ids before the names (n02268443 dragonfly) are left away where every name has one; two
    classes of one name (the cranes of ImageNet) keep them.

    Raises:
        ValueError: names too many or too few.
    """
    if names is None:
        return [str(i) for i in range(count)]
    if len(names) < count:
        raise ValueError(f"got {len(names)} class names for {count} classes, need one each")
    names = [str(name) for name in names]
    if not all(SYNSET.match(name) for name in names):
        return names
    bare = [SYNSET.sub("", name) for name in names]
    uses = Counter(bare)
    return [plain if uses[plain] == 1 else name for plain, name in zip(bare, names, strict=True)]


def names_in(table: pd.DataFrame, names: Sequence[str] | None, column: str = "class") -> list[str]:
    """Names of all classes up to the last of a column, as :func:`class_names` gives them."""
    return class_names(int(table[column].max()) + 1, names)


def require(table: pd.DataFrame, *columns: str, number: str | None = None) -> None:
    """Refuse a table that cannot be drawn or read.

    Raises:
        ValueError: a column is missing, there are no rows, or ``number`` is NaN in all of them.
    """
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"the table lacks {missing}, it has {list(table.columns)}")
    if table.empty:
        raise ValueError("the table has no rows, there is nothing to draw")
    if number is not None and table[number].isna().all():
        raise ValueError(
            f"the table has no value of {number!r}: all samples hold NaN or inf, or lack a "
            f"gradient or the label it needs"
        )
