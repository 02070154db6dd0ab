"""Figures of conflict at layers (figure 19): where, and when, the terms pull against each other."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.terms.conflict_figure import conflict_matrix
from kdanalysis.draw.look import INK, PAGE, Axes, Figure, new_panels, require, short, styled
from kdanalysis.draw.panels import LOGITS, by_epoch, drawn_layers, records_left_out, title_of_some

MOST_PERIODS = 6
PAIR = ["term_a", "term_b"]


@styled
def conflict_by_layer(table: pd.DataFrame) -> Figure:
    """Mean cosine of every pair of terms over all records, one matrix a layer, one colour scale.

    Args:
        table: columns layer, term_a, term_b, cosine, conflict, n, non_finite (``LayerGradients``).

    Raises:
        ValueError: the loss has a single term.
    """
    rows = pairs_of(table)
    layers, terms = drawn_layers(rows), len(set(rows.term_a) | set(rows.term_b))
    columns = min(len(layers), max(1, 9 // terms))
    lines = -(-len(layers) // columns)
    size = (1.5 + (0.3 + 0.72 * terms) * columns, 0.5 + (0.75 + 0.5 * terms) * lines)
    figure, axes = new_panels(lines, columns, figsize=size, squeeze=False)
    for ax in axes.flat[len(layers) :]:
        ax.remove()
    for layer, ax in zip(layers, axes.flat, strict=False):
        conflict_matrix(rows[rows.layer == layer].assign(teacher="all"), ax, bar=False)
        ax.set_title(short(layer, 24), loc="left", parse_math=False)
        ax.set_xlabel("")
    figure.supxlabel(
        "cell: mean cosine; share of recorded steps with a negative one" + records_left_out(table),
        fontsize=10,
    )
    title_of_some(figure, rows, layers)
    used = list(axes.flat[: len(layers)])
    figure.colorbar(used[0].images[0], ax=used, aspect=30, label="mean cosine of the gradients")
    return figure


@styled
def layer_conflict_over_epochs(table: pd.DataFrame) -> Figure:
    """Mean cosine of every pair as a colour, one strip of epochs a layer; negative ones counted.

    Of more than 6 epochs neighbouring ones stand together; steps serve where no epochs are known.

    Args:
        table: columns step, epoch, layer, term_a, term_b, cosine, conflict, n, non_finite.

    Raises:
        ValueError: the loss has a single term.
    """
    rows, name, labels = _periods(pairs_of(table))
    pairs = list(dict.fromkeys(zip(rows.term_a, rows.term_b, strict=True)))
    layers = drawn_layers(rows)
    columns = min(2, len(layers))
    lines = -(-len(layers) // columns)
    figure, axes = new_panels(
        lines,
        columns,
        figsize=(PAGE, 1.0 + lines * (0.45 + 0.24 * len(pairs))),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for ax in axes.flat[len(layers) :]:
        ax.remove()
    for layer, ax in zip(layers, axes.flat, strict=False):
        image = _strip(ax, rows[rows.layer == layer], pairs, len(labels))
        ax.set_title(short(layer, 24), loc="left", parse_math=False)
        ax.set_xticks(range(len(labels)), labels=labels)
    for ax in axes.flat[max(0, len(layers) - columns) : len(layers)]:
        ax.tick_params(labelbottom=True)
    note = f"{name}\nnumber in a cell: percent of recorded steps with a negative cosine"
    figure.supxlabel(note + records_left_out(table), fontsize=10)
    title_of_some(figure, rows, layers)
    used = list(axes.flat[: len(layers)])
    figure.colorbar(image, ax=used, aspect=40, label="mean cosine of the gradients")
    return figure


def _strip(ax: Axes, rows: pd.DataFrame, pairs: list[tuple[str, str]], count: int):
    cells = np.full((len(pairs), count), np.nan)
    for row in means_of(rows, [*PAIR, "period"]).itertuples():
        place = pairs.index((row.term_a, row.term_b)), int(row.period)
        cells[place] = row.cosine
        if not np.isnan(row.conflict):
            ink = "white" if abs(row.cosine) > 0.55 else INK
            text = f"{100 * row.conflict:.0f}"
            ax.text(place[1], place[0], text, ha="center", va="center", fontsize=9, color=ink)
    image = ax.imshow(cells, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    ax.set_yticks(range(len(pairs)), labels=[f"{a} / {b}" for a, b in pairs], parse_math=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return image


def _periods(rows: pd.DataFrame) -> tuple[pd.DataFrame, str, list[str]]:
    """Add the column period, and return what it counts with the first one of each."""
    when, name = by_epoch(rows)
    known = np.sort(when.unique())
    first = [int(group[0]) for group in np.array_split(known, min(MOST_PERIODS, len(known)))]
    period = np.searchsorted(first, when.to_numpy(), side="right") - 1
    grouped = "" if len(first) == len(known) else ", from the one named to the next"
    return rows.assign(period=period), name + grouped, [str(number) for number in first]


def pairs_of(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of two different terms.

    Raises:
        ValueError: there are none.
    """
    require(table, "step", "epoch", "layer", *PAIR, "cosine", "conflict", "n", "non_finite")
    rows = table[table.term_a != table.term_b]
    if rows.empty:
        raise ValueError("the loss has a single term, which has none to be in conflict with")
    require(rows, number="cosine")
    return rows


def means_of(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Columns cosine, conflict over the records that have a cosine, by the names in order."""
    known = rows[rows.cosine.notna()]
    sums = known.assign(cosine=known.cosine * known.n, conflict=known.conflict * known.n)
    sums = sums.groupby(names, sort=False)[["cosine", "conflict", "n"]].sum()
    return sums[["cosine", "conflict"]].div(sums.n, axis=0).reset_index()


def mean_conflict(table: pd.DataFrame) -> pd.DataFrame:
    """Columns layer, term_a, term_b, cosine, conflict over all records."""
    return means_of(pairs_of(table), ["layer", *PAIR])


def layer_conflict_number(table: pd.DataFrame) -> str:
    """The lowest mean cosine of two terms at a layer."""
    worst = _worst(table)
    return (
        f"lowest mean cosine {worst.cosine:+z.2f}, of {worst.term_a} and {worst.term_b} at "
        f"{worst.layer}, negative in {worst.conflict:.0%} of the recorded steps"
    )


def layer_conflict_sentence(table: pd.DataFrame) -> str:
    """What to read: whether two terms fight at a layer, and whether they do in logit space too."""
    worst = _worst(table)
    pair = f"{worst.term_a} and {worst.term_b}"
    if worst.cosine >= 0:
        claim = (
            f"These data show no two terms that fight at a layer: the mean cosine is lowest for "
            f"{pair} at {worst.layer}, {worst.cosine:+z.2f}"
        )
    else:
        claim = (
            f"{pair} fight most, at {worst.layer}: their mean cosine there is {worst.cosine:+z.2f}"
        )
    means = mean_conflict(table)
    there = (means.layer == LOGITS) & (means.term_a == worst.term_a)
    logits = means[there & (means.term_b == worst.term_b)]
    if logits.empty or worst.layer == LOGITS:
        return f"{claim}."
    return f"{claim}, in logit space {logits.cosine.iloc[0]:+z.2f}."


def _worst(table: pd.DataFrame) -> pd.Series:
    means = mean_conflict(table)
    inner = means[means.layer != LOGITS]
    means = inner if len(inner) else means
    return means.loc[means.cosine.idxmin()]
