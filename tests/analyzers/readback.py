"""What a figure really shows, read from its artists."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from kdanalysis.draw.drawn import Drawn


def legend_texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def lines(ax: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Data of the labelled lines."""
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in ax.lines
        if not line.get_label().startswith("_")
    }


def smallest_font(figure: Figure) -> float:
    figure.canvas.draw()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return min(text.get_fontsize() for text in texts)


def smallest_letters_on_a_page(figure: Figure) -> float:
    """CSS pixels of the smallest letters in one of two columns of a page, at 1440."""
    return smallest_font(figure) * 493 / (72 * Drawn(lambda: figure).box.width)


def legend_is_above(ax: Axes) -> bool:
    ax.figure.canvas.draw()
    return ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1


def legend_is_beside(ax: Axes) -> bool:
    ax.figure.canvas.draw()
    return ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
