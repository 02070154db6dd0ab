"""The embedding drawn (figure 14): t-SNE of every network's features, with its numbers."""

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd

from kdanalysis.analyzers.evidence import share_of
from kdanalysis.analyzers.students.embedding import Embedding
from kdanalysis.analyzers.students.embedding_reading import networks
from kdanalysis.draw.look import (
    FAINT,
    MARKERS,
    PAGE,
    PALETTE,
    Axes,
    Figure,
    class_names,
    shared_legend,
    short,
    state_left_out,
)
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.settings import fine

CAPTION = (
    "t-SNE of the features before the head, numbers of the features themselves; hollow: the "
    "nearest others in feature space vote for another class"
)
ACROSS, PANEL = 2, 2.9  # panels beside each other, and the height of one, inches
NAMED = 20  # more classes have no legend
COLOURS = [colour for name, colour in PALETTE.items() if name != "grey"] + [PALETTE["grey"]]
LOOKS = [(colour, marker) for marker, colour in product(MARKERS, COLOURS)]


@Embedding.picture(CAPTION, of_all=True, names=True, panels=True)
def embeddings(tables: Mapping[str, pd.DataFrame], names: Sequence[str] | None = None) -> Figure:
    """One panel a network: the rows drawn, a colour a class, beyond nine classes a mark too.

    Above each stand k-NN accuracy with its 95 % interval, silhouette and Fisher ratio of the
    features. The axes have no unit, and no two panels share one.
    """
    found = networks(tables)
    points = {name: rows[rows.part == "sample"] for name, rows in found.items()}
    classes = sorted({int(c) for rows in points.values() for c in rows["class"]})
    figure, axes = panel_grid(len(found), ACROSS, PAGE, PANEL, 1.2, sharex=False, sharey=False)
    labels = class_names(classes[-1] + 1, names)
    for ax, (name, rows) in zip(axes, found.items(), strict=True):
        _draw(ax, points[name], labels)
        whole = rows.iloc[0]
        ax.set_title(
            f"{short(name, 24)}: {whole.k}-NN {share_of(whole.knn, whole.n)}\n"
            f"silhouette {whole.silhouette:.2f}, Fisher ratio {whole.fisher:.2g}",
            loc="left",
            fontsize=fine(),
            parse_math=False,
        )
    if len(classes) <= NAMED:
        shared_legend(figure, axes[0], "right upper", title="class", handlelength=1)
    first, table = next(iter(found.values())).iloc[0], next(iter(tables.values()))
    more = "" if len(classes) <= NAMED else f"; {len(classes)} classes, colours and marks repeat"
    all_drawn = first.drawn == first.n
    shown = "all" if all_drawn else f"{first.drawn:,} of {first.n:,}, every class in proportion"
    figure.supxlabel(
        f"samples: {shown}{more}\n"
        f"one picture of many: perplexity {first.perplexity:.3g}, seed {first.seed}"
        f"{state_left_out(table)}",
        fontsize=fine(),
    )
    return figure


@Embedding.picture(CAPTION, names=True, panels=True)
def embedding(table: pd.DataFrame, names: Sequence[str] | None = None) -> Figure:
    """The sides of a single table."""
    return embeddings({"": table}, names)


def _draw(ax: Axes, points: pd.DataFrame, labels: Sequence[str]) -> None:
    for (number, right), rows in points.groupby(["class", "knn"]):
        colour, marker = LOOKS[int(number) % len(LOOKS)]
        fill = {"markerfacecolor": colour if right else "none", "markeredgecolor": colour}
        ax.plot(rows.x, rows.y, marker, markersize=3.2, markeredgewidth=0.8, **fill)
    for number in sorted(points["class"].unique()):
        colour, marker = LOOKS[int(number) % len(LOOKS)]
        name = short(labels[int(number)], 16)
        ax.plot([], [], marker, color=colour, markersize=4, label=name)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=FAINT)
