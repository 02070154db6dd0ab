"""Small multiples of what was recorded at layers: a panel a layer, one colour a term."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdanalysis.draw.colours import side_look, term_colour
from kdanalysis.draw.look import PAGE, Axes, Figure, even_columns, new_panels
from kdanalysis.draw.names import short

MOST_LAYERS = 6
LOGITS = "logits"  # stands first among the layers, where it was recorded


def panel_grid(
    count: int,
    across: int,
    width: float,
    line: float,
    rest: float,
    sharex: bool = True,
    sharey: bool = True,
) -> tuple[Figure, list[Axes]]:
    """A figure with so many axes, at most ``across`` beside each other; sizes in inches.

    Args:
        count: how many.
        across: at most so many beside each other; lines are filled evenly, 4 panels as 2 and 2.
        width: of the figure.
        line: height of a line of axes.
        rest: height of what stands above and below them.
        sharex: whether all have the same horizontal scale, written below the lowest ones.
        sharey: likewise the vertical one, written at the left.
    """
    across = even_columns(count, across)
    down = -(-count // across)
    size = (width, rest + line * down)
    figure, axes = new_panels(
        down, across, figsize=size, sharex=sharex, sharey=sharey, squeeze=False
    )
    for ax in axes.flat[count:]:
        ax.remove()
    for ax in axes.flat[max(0, count - across) : count]:
        ax.tick_params(labelbottom=True)
    return figure, list(axes.flat[:count])


def layer_panels(
    rows: pd.DataFrame,
    across: int = 3,
    width: float = PAGE,
    line: float = 1.9,
    rest: float = 1.2,
    shared: bool = True,
) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with the axes of each layer; sizes as :func:`panel_grid` takes them.

    Of more than 6 layers 6 have one, evenly spaced; the title says so.
    """
    layers = drawn_layers(rows)
    figure, axes = panel_grid(len(layers), across, width, line, rest, shared, shared)
    panels = dict(zip(layers, axes, strict=True))
    for layer, ax in panels.items():
        ax.set_title(short(layer, 24, layers), loc="left", parse_math=False)
    if (total := rows.layer.nunique()) > len(layers):
        figure.suptitle(f"{len(layers)} of {total} layers", x=0.01, ha="left", fontsize="medium")
    return figure, panels


def drawn_layers(rows: pd.DataFrame, most: int = MOST_LAYERS) -> list[str]:
    """Return the layers in the order recorded, evenly spaced ones of too many."""
    layers = list(dict.fromkeys(rows.layer))
    places = np.linspace(0, len(layers) - 1, min(most, len(layers))).round().astype(int)
    return [layers[place] for place in places]


def draw_term(
    ax: Axes,
    x: pd.Series,
    y: pd.Series,
    term: str,
    band: tuple[pd.Series, pd.Series] | None = None,
) -> None:
    """Draw one term's line in its colour, over a band if given, with marks where they are few."""
    marker = "o" if len(x) <= 12 else None
    colour, dash = side_look(term) or (term_colour(term), "-")
    look = {"color": colour, "linestyle": dash, "marker": marker}
    if band is not None:
        ax.fill_between(x.to_numpy(), *band, color=colour, alpha=0.13, linewidth=0)
    ax.plot(x.to_numpy(), y.to_numpy(), label=term, **look)


def terms_legend(figure: Figure, order: Sequence[str] = ()) -> None:
    """Legend of all terms above the panels; its texts are shown as they are.

    Args:
        figure: the panels'.
        order: of the texts; as they come in the panels if none.
    """
    handles = {}
    for ax in figure.axes:
        found = zip(*ax.get_legend_handles_labels(), strict=True)
        handles |= {label: handle for handle, label in found if label not in handles}
    handles = {label: handles[label] for label in order if label in handles} | handles
    legend = figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper right",
        ncols=even_columns(len(handles), 4 if max(map(len, handles), default=0) > 12 else 6),
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def records_left_out(table: pd.DataFrame) -> str:
    """Second line for an axis label that says how many records were left out, or nothing."""
    count = int(table.groupby(["step", "layer"]).non_finite.max().sum())
    return f"\n({count:,} records with NaN or inf left out)" if count else ""


def by_epoch(rows: pd.DataFrame) -> tuple[pd.Series, str]:
    """Return epoch, or the step where there is a single or no known epoch, and its name."""
    known = rows.epoch.notna().all() and rows.epoch.nunique() > 1
    return (rows.epoch, "epoch") if known else (rows.step, "training step")
