"""Conflict at layers (figure 19): where, and when, the terms pull against each other there."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.by_step import over_samples
from kdanalysis.analyzers.evidence import Interval, mean_of
from kdanalysis.analyzers.noun import Noun, Reading
from kdanalysis.analyzers.student_t import for_all
from kdanalysis.analyzers.terms.conflict import over_steps
from kdanalysis.analyzers.terms.conflict_pictures import BAR, cosine_matrix
from kdanalysis.core.wording import percent, written
from kdanalysis.draw.look import PAGE, Axes, Figure
from kdanalysis.draw.marks import cosine_map
from kdanalysis.draw.panels import LOGITS, by_epoch, drawn_layers, layer_panels, records_left_out
from kdanalysis.draw.tables import require

MOST_PERIODS = 6
PAIR = ["term_a", "term_b"]


class LayerConflict(Noun):
    """Cosines of every pair of terms at every layer, read from the table ``layers``.

    Readings and pictures raise a ValueError where the loss has a single term.
    """

    noun, title = "layer_conflict", "Conflict of the terms at the layers"


@LayerConflict.reads()
def layer_conflict_reading(table: pd.DataFrame) -> Reading:
    """Whether two terms fight at a layer, and whether they do in logit space too.

    Of the pair and layer where the mean cosine is lowest, with the t interval over captured steps
    at a level for all pairs and layers; the number is that cosine.
    """
    means = mean_conflict(table)
    inner = means[means.layer != LOGITS]
    inner = inner if len(inner) else means
    worst = inner.loc[inner.cosine.idxmin()]
    pair, cosine = f"{worst.term_a} and {worst.term_b}", written(worst.cosine, "+z.2f")
    number = (
        f"lowest mean cosine {cosine}, of {pair} at {worst.layer}, negative in "
        f"{percent(worst.conflict, 0)} of the recorded steps"
    )
    rows = pairs_of(table)
    steps = _means(rows[(rows[["layer", *PAIR]] == worst[["layer", *PAIR]]).all(axis=1)], ["step"])
    found = Interval(float(worst.cosine), mean_of(steps.cosine).half)
    found = found.chosen_of(len(inner), len(steps))
    claim = (
        f"That two terms fight at a layer {found.negated.claim}: the mean cosine is lowest for "
        f"{pair} at {worst.layer}, {found.text('+z.2f')}"
        f"{for_all(found.half, len(inner), 'cosines')}"
    )
    there = (means[["layer", *PAIR]] == [LOGITS, worst.term_a, worst.term_b]).all(axis=1)
    if worst.layer != LOGITS and there.any():
        claim += f", in logit space {written(means.cosine[there].iloc[0], '+z.2f')}"
    return Reading(f"{claim}.", number)


@LayerConflict.shortens
def mean_conflict(table: pd.DataFrame) -> pd.DataFrame:
    """Columns layer, term_a, term_b, cosine, conflict over all records."""
    return _means(pairs_of(table), ["layer", *PAIR])


def pairs_of(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of two different terms; a ValueError where there are none."""
    require(table, "step", "epoch", "layer", *PAIR, "cosine", "conflict", "n", "non_finite")
    rows = table[table.term_a != table.term_b]
    if rows.empty:
        raise ValueError("the loss has a single term, which has none to be in conflict with")
    require(rows, number="cosine")
    return rows


def _means(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Columns cosine, conflict over the records that have a cosine, by the names in order."""
    known = rows[rows.cosine.notna()]
    return over_samples(known, names, ["cosine", "conflict"]).drop(columns="n").reset_index()


@LayerConflict.picture("Cosines of the terms' gradients at every layer", panels=True)
def conflict_by_layer(table: pd.DataFrame) -> Figure:
    """Mean cosine of every pair of terms over all records, one matrix a layer, one colour scale."""
    rows = pairs_of(table)
    terms = len(set(rows.term_a) | set(rows.term_b))
    across = min(len(drawn_layers(rows)), max(1, 9 // terms))
    figure, panels = layer_panels(
        rows, across, 1.5 + (0.3 + 0.72 * terms) * across, 0.75 + 0.5 * terms, 0.5, shared=False
    )
    for layer, ax in panels.items():
        of_layer = over_steps(rows[rows.layer == layer].assign(teacher="all"), "all")
        cosine_matrix(ax, of_layer, apart=layer == LOGITS)
    figure.supxlabel(
        "cell: mean cosine; share of recorded steps with a negative one" + records_left_out(table),
        fontsize="medium",
    )
    _colour_bar(figure, panels, aspect=30)
    return figure


@LayerConflict.picture("Cosines at every layer over the epochs", panels=True)
def layer_conflict_over_epochs(table: pd.DataFrame) -> Figure:
    """Mean cosine of every pair as a colour, one strip of epochs a layer; negative ones counted.

    Of more than 6 epochs neighbouring ones stand together; steps serve where no epochs are known.
    """
    rows, name, periods = _periods(pairs_of(table))
    pairs = list(dict.fromkeys(zip(rows.term_a, rows.term_b, strict=True)))
    figure, panels = layer_panels(rows, 2, PAGE, 0.45 + 0.24 * len(pairs), 1.0)
    for layer, ax in panels.items():
        _strip(ax, rows[rows.layer == layer], pairs, periods)
    note = f"{name}\nnumber in a cell: percent of recorded steps with a negative cosine"
    figure.supxlabel(note + records_left_out(table), fontsize="medium")
    _colour_bar(figure, panels, aspect=40)
    return figure


def _strip(ax: Axes, rows: pd.DataFrame, pairs: list[tuple[str, str]], periods: list[str]) -> None:
    cells, texts = np.full((len(pairs), len(periods)), np.nan), {}
    for row in _means(rows, [*PAIR, "period"]).itertuples():
        place = pairs.index((row.term_a, row.term_b)), int(row.period)
        cells[place] = row.cosine
        if not np.isnan(row.conflict):
            texts[place] = f"{100 * row.conflict:.0f}"
    cosine_map(ax, cells, texts, [f"{a} / {b}" for a, b in pairs], periods)


def _colour_bar(figure: Figure, panels: dict[str, Axes], aspect: int) -> None:
    used = list(panels.values())
    figure.colorbar(used[0].images[0], ax=used, aspect=aspect, label=BAR)


def _periods(rows: pd.DataFrame) -> tuple[pd.DataFrame, str, list[str]]:
    """Add the column period, and return what it counts with the first one of each."""
    when, name = by_epoch(rows)
    known = np.sort(when.unique())
    first = [int(group[0]) for group in np.array_split(known, min(MOST_PERIODS, len(known)))]
    period = np.searchsorted(first, when.to_numpy(), side="right") - 1
    grouped = "" if len(first) == len(known) else ", from the one named to the next"
    return rows.assign(period=period), name + grouped, [str(number) for number in first]
