"""Figures of class profiles (figure 8): which classes the teacher sees in the images of one."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from kdanalysis.draw.look import (
    BLUE,
    FAINT,
    PAGE,
    VERMILION,
    Axes,
    Figure,
    class_names,
    few_ticks,
    new_panels,
    require,
    short,
    state_left_out,
    styled,
)

PANELS = 12  # of more classes only so many are drawn
BARS = 8  # and of each only the most probable classes


@styled
def class_profiles(
    table: pd.DataFrame,
    names: Sequence[str] | None = None,
    classes: Sequence[int] | None = None,
    k: int = 5,
) -> Figure:
    """One panel a class: the teacher's mean probability for every class, given that it is true.

    The k most probable classes are blue, the true class vermilion. Up to 12 classes are drawn in
    full, in class order. Of more classes, 12 are drawn, evenly spaced from the most to the least
    concentrated profile, and of each its 8 most probable classes, with the mass of all others as
    a number; the title says so.

    Args:
        table: columns target, class, probability, rank, non_finite, temperature
            (``ClassProfile``).
        names: a name for every class.
        classes: which classes to draw instead.
        k: how many classes to colour.
    """
    columns = ("target", "class", "probability", "rank", "temperature")
    require(table, *columns, number="probability")
    seen = table.dropna(subset="probability")
    labels = class_names(int(table["class"].max()) + 1, names)
    chosen = spread_classes(table) if classes is None else list(classes)
    whole = len(labels) <= PANELS
    figure, grid = _grid(len(chosen), min(len(labels), PANELS) if whole else BARS, whole)
    profiles = dict(tuple(seen.groupby("target")))
    for ax, target in zip(grid, chosen, strict=True):
        if target not in profiles:
            raise ValueError(f"class {target} has no samples in the table")
        _panel(ax, profiles[target], target, labels, k, whole)
    _legend(figure, k, whole, len(chosen), seen.target.nunique(), classes is None, table)
    return figure


def spread_classes(table: pd.DataFrame, count: int = PANELS) -> list[int]:
    """Up to ``count`` classes with samples, evenly spaced by the entropy of their profile."""
    seen = table.dropna(subset="probability")
    p = seen.probability.to_numpy()
    entropy = pd.Series(-p * np.log(np.maximum(p, 1e-300))).groupby(seen.target.to_numpy()).sum()
    if len(entropy) <= count:
        return sorted(int(target) for target in entropy.index)
    order = entropy.sort_values(kind="stable").index.to_numpy()
    return [int(order[i]) for i in np.linspace(0, len(order) - 1, count).round().astype(int)]


def profile_number(table: pd.DataFrame) -> str:
    """Rivals of the median class, and the part of the mass beside it that the strongest holds."""
    count, strongest = _rivals(table)
    return (
        f"{_counted(count)} above twice an even spread (median class); the strongest "
        f"holds {_percent(strongest.median())} of the mass beside the true class"
    )


def profile_sentence(table: pd.DataFrame) -> str:
    """What to read: whether classes have modes beside the true one.

    A rival is another class whose mean probability is at least twice what an even spread of the
    mass beside the true class would give it. Classes have several modes where the median class
    has a rival.
    """
    count, strongest = _rivals(table)
    if strongest.isna().all():
        return "The teacher leaves no mass beside the true class, so there are no modes to see."
    claim = (
        f"the median class has {_counted(count)} with at least twice the probability of "
        f"an even spread, and its strongest rival holds {_percent(strongest.median())} of the "
        f"mass beside it"
    )
    if count.median() >= 1:
        return f"Classes have several modes: {claim}."
    return f"These data do not show several modes a class: {claim}."


def _rivals(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Number of rivals by class, and the part of the mass beside it that the strongest holds."""
    require(table, "target", "class", "probability", number="probability")
    rest = table[table.target != table["class"]].dropna(subset="probability")
    mass = rest.groupby("target").probability.transform("sum")
    part = rest.probability / mass.where(mass > 0)
    even = 1 / (table["class"].nunique() - 1)
    return (part >= 2 * even).groupby(rest.target).sum(), part.groupby(rest.target).max()


def _counted(rivals: pd.Series) -> str:
    middle = rivals.median()
    return f"{middle:g} rival" if middle == 1 else f"{middle:g} rivals"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _grid(panels: int, bars: int, whole: bool) -> tuple[Figure, list[Axes]]:
    columns = min(panels, (5 if panels in (5, 9, 10) else 4) if whole else 3)
    rows = -(-panels // columns)
    figure, axes = new_panels(
        rows,
        columns,
        figsize=(PAGE, rows * (0.55 + 0.16 * bars) + 0.9),
        squeeze=False,
        sharex=True,
        sharey=whole,
    )
    for ax in axes.flat[panels:]:
        ax.remove()
    for ax in axes.flat[max(panels - columns, 0) : panels]:
        ax.tick_params(labelbottom=True)
    return figure, list(axes.flat[:panels])


def _panel(
    ax: Axes, rows: pd.DataFrame, target: int, labels: list[str], k: int, whole: bool
) -> None:
    shown = rows.sort_values("class" if whole else "rank").head(len(labels) if whole else BARS)
    colours = [
        VERMILION if c == target else BLUE if rank <= k else FAINT
        for c, rank in zip(shown["class"], shown["rank"], strict=True)
    ]
    places = range(len(shown))
    ax.barh(places, shown.probability, color=colours, height=0.75)
    ax.set_yticks(places, labels=[short(labels[c], 13) for c in shown["class"]], parse_math=False)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_title(short(labels[target], 15 if whole else 22), loc="left", parse_math=False)
    few_ticks(ax.xaxis, 3)
    if not whole:
        rest = 1 - shown.probability.sum()
        ax.text(0.98, 0.03, f"others {rest:.2f}", transform=ax.transAxes, ha="right", fontsize=9)


def _legend(
    figure: Figure, k: int, whole: bool, drawn: int, seen: int, spread: bool, table: pd.DataFrame
) -> None:
    handles = [
        Patch(color=VERMILION, label="true class"),
        Patch(color=BLUE, label=f"other class among the {k} most probable"),
    ]
    if whole or k < BARS:
        handles.append(Patch(color=FAINT, label="the rest"))
    temperature = table.temperature.iloc[0]
    axis = f"mean teacher probability at T = {temperature:g}{state_left_out(table)}"
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title=axis,
        title_fontsize=10,
    )
    if drawn < seen:
        how = ", evenly spaced from the most to the least concentrated" if spread else ""
        figure.suptitle(f"{drawn} of {seen} classes{how}", fontsize=10)
