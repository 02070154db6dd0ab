"""Figures of ambiguity: how many things a teacher sees in the cells of one image."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    BLUE,
    GREY,
    PAGE,
    VERMILION,
    Axes,
    Figure,
    class_names,
    new_panels,
    require,
    short,
    state_left_out,
    styled,
)

MOST = 8  # classes drawn at either end
IMAGES = 10  # groups of fewer are not compared, nor their classes named or drawn beside larger
COLOURS = {"right": BLUE, "wrong": VERMILION}


@styled
def ambiguity_by_class(table: pd.DataFrame, names: Sequence[str] | None = None) -> Figure:
    """Share of differing cells where the teacher is right and wrong; entropy of the classes.

    Left, the mean share of cells that name another class than the whole image, with the share of
    clear images written in the bar. Right, the mean entropy of the cells' classes at the finest
    scale, of the 8 classes with the least and the 8 with the most.

    Args:
        table: as ``RegionAmbiguity.table`` gives it.
        names: a name for every class.
    """
    require(table, "part", "teacher", "class", "scale", "n", "entropy", number="entropy")
    figure, (left, right) = new_panels(1, 2, figsize=(PAGE, 4.2), width_ratios=(1, 1.15))
    _teachers(left, table[table.part == "teacher"])
    _classes(right, table, names)
    left.set_ylabel(f"cells that differ from the image (%){state_left_out(table)}")
    return figure


def ambiguity_number(table: pd.DataFrame) -> str:
    """Means over all images at every scale."""
    rows = _all(table)
    return "; ".join(
        f"scale {row.scale}: {row.differing:.1%} of the cells differ, {row.clear:.1%} of the "
        f"images are clear, entropy {row.entropy:.3f} nats, divergence {row.divergence:.3f} nats"
        for row in rows.itertuples()
    )


def ambiguity_sentence(table: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """What to read: how much of a teacher's image is ambiguous, and where it is more so.

    Images that the teacher gets right and wrong are compared where there are 10 of either.
    """
    fine = _all(table).iloc[-1]
    most = np.log(fine.scale**2)
    told = (
        f"At scale {fine.scale}, {fine.differing:.0%} of the cells name another class than the "
        f"whole image, and {fine.clear:.0%} of the images are clear; the entropy of the cells' "
        f"classes is {fine.entropy:.2f} nats of at most {most:.2f}."
    )
    rows = table[(table.part == "teacher") & (table.scale == fine.scale)]
    rows = rows[rows.n >= IMAGES].set_index("teacher")
    if {"right", "wrong"} <= set(rows.index):
        right, wrong = rows.differing["right"], rows.differing["wrong"]
        more = "more" if wrong > right else "not more"
        told += (
            f" Images that the teacher gets wrong are {more} ambiguous: {wrong:.0%} of their cells "
            f"differ, {right:.0%} where it is right."
        )
    ranked = _ranked(table)
    if len(ranked) < 2 or ranked.n.min() < IMAGES:
        return told
    labels = class_names(int(table["class"].max()) + 1, names)
    first, last = (short(labels[int(place)], 24) for place in ranked["class"].iloc[[0, -1]])
    return f"{told} The clearest class is {first}, the most ambiguous {last}."


def _all(table: pd.DataFrame) -> pd.DataFrame:
    require(table, "part", "teacher", "scale", "entropy", "differing", "clear", number="entropy")
    return table[(table.part == "teacher") & (table.teacher == "all")]


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Classes of 10 images or more at the finest scale, clearest first; all where few have them."""
    rows = table[(table.part == "class") & (table.scale == table.scale.max()) & (table.n > 0)]
    rows = rows.sort_values("entropy", kind="stable")
    large = rows[rows.n >= IMAGES]
    return large if len(large) > 1 else rows


def _teachers(ax: Axes, rows: pd.DataFrame) -> None:
    scales = list(rows.scale.unique())
    for place, (teacher, colour) in enumerate(COLOURS.items()):
        some = rows[rows.teacher == teacher].set_index("scale").loc[scales]
        label = f"teacher {teacher} (n = {int(some.n.iloc[0]):,})"
        at = np.arange(len(scales)) + 0.4 * (place - 0.5)
        bars = ax.bar(at, 100 * some.differing, width=0.38, color=colour, label=label)
        texts = [f"{x:.0%}\nclear" if x == x else "" for x in some.clear]
        ax.bar_label(bars, texts, padding=2, fontsize=9)
    ax.set_xticks(range(len(scales)), labels=[f"{m} x {m} cells" for m in scales])
    ax.set_ylim(0, 125)
    ax.set_yticks(range(0, 101, 20))
    ax.legend(loc="upper left", frameon=False)


def _classes(ax: Axes, table: pd.DataFrame, names: Sequence[str] | None) -> None:
    ranked = _ranked(table)
    some = ranked if len(ranked) <= 2 * MOST else pd.concat([ranked[:MOST], ranked[-MOST:]])
    labels = class_names(int(table["class"].max()) + 1, names)
    texts = [short(labels[int(place)], 22) for place in some["class"]]
    ax.hlines(range(len(some)), 0, some.entropy, color=GREY, linewidth=1)
    ax.plot(some.entropy, range(len(some)), "o", color=BLUE)
    ax.set_yticks(range(len(some)), labels=texts, parse_math=False)
    ax.tick_params(axis="y", labelsize=9, length=0)
    if len(ranked) > len(some):
        ax.axhline(MOST - 0.5, color=GREY, linestyle=":", linewidth=1.2)
    scale = int(table.scale.max())
    ax.set_xlim(0, np.log(scale**2))
    what = f"entropy of the classes of {scale} x {scale} cells"
    sizes = f"{some.n.min()} to {some.n.max()}" if len(some) else "no"
    ax.set_xlabel(f"{what}\n(nats, up to log {scale**2}; classes of {sizes} images)")
    ax.invert_yaxis()
