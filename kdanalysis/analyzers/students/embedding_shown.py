"""The embedding read and drawn (figure 14): which network's features tell the classes apart."""

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd

from kdanalysis.analyzers.evidence import (
    UNTESTED,
    Interval,
    difference_of_shares,
    share_of,
    written,
)
from kdanalysis.analyzers.noun import Names, Reading, Tables
from kdanalysis.analyzers.students.embedding import Embedding
from kdanalysis.core.wording import numeral, numerals, percent, percent_range
from kdanalysis.draw.colours import FAINT, MARKERS, PALETTE
from kdanalysis.draw.look import PAGE, Axes, Figure, fine, shared_legend
from kdanalysis.draw.names import class_names, short
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.tables import require, state_left_out

SAME = ["side", "n", "knn", "silhouette", "fisher", "width"]  # of one that several runs share
CAPTION = (
    "t-SNE of the features before the head, numbers of the features themselves; hollow: the "
    "nearest others in feature space vote for another class"
)
ACROSS, PANEL = 2, 2.9  # panels beside each other, and the height of one, inches
NAMED = 20  # more classes have no legend
COLOURS = [colour for name, colour in PALETTE.items() if name != "grey"] + [PALETTE["grey"]]
LOOKS = [(colour, marker) for marker, colour in product(MARKERS, COLOURS)]


@Embedding.reads()
def embedding_reading(table: pd.DataFrame) -> Reading:
    """How often neighbours in feature space name the class, with its interval; teacher, student."""
    return networks_reading({"": table})


@Embedding.reads(of_all=True)
def networks_reading(tables: Tables) -> Reading:
    """The same of every network: the teacher less each student, and students beside plain KD's.

    Differences are of k-NN accuracies, with intervals as of independent samples: those of the same
    images are narrower. The number is what every network's features come to.
    """
    whole = {name: rows.iloc[0] for name, rows in networks(tables).items()}
    first = next(iter(whole.values()))
    shares = ", ".join(f"{name} {share_of(row.knn, row.n)}" for name, row in whole.items())
    told = [
        f"The {first.k} nearest others in feature space name a sample's class: {shares}; the most "
        f"frequent class is that of {percent(first.chance)}."
    ]
    students = [name for name, row in whole.items() if row.side == "student"]
    if "teacher" in whole and students:
        leads = [_difference(whole, "teacher", name) for name in students]
        told.append(
            f"That the teacher's features do so more often than a student's: "
            f"{_said(students, leads)}."
        )
    if len(students) > 1:
        base = "kd" if "kd" in students else students[0]
        others = [name for name in students if name != base]
        leads = [_difference(whole, name, base) for name in others]
        told.append(
            f"That other students' do more often than {base}'s: {_said(others, leads)}; one "
            f"student each, so what another training would give {UNTESTED}."
        )
    kept = sorted(row.kept for row in whole.values())
    told.append(
        f"The picture is one of many: of a drawn sample's {first.k} nearest it keeps "
        f"{percent_range(kept[0], kept[-1])}, and how far its groups lie apart says nothing."
    )
    number = "; ".join(
        f"{name} {written(row.silhouette, '.3f')} and {written(row.fisher, '.3g')}"
        for name, row in whole.items()
    )
    where = f"of {_rows(first)} samples, silhouette and Fisher ratio in feature space"
    return Reading(" ".join(told), f"{where}: {number}")


def networks(tables: Tables) -> dict[str, pd.DataFrame]:
    """Return the rows of every network by its name; the first of each is that over all rows.

    A student is called by its run, the teacher "teacher"; one that several runs share is there
    once, another one as "teacher of" its run. Those without a number are left out.

    Raises:
        ValueError: no table, or none with a number.
    """
    if not tables:
        raise ValueError("need the table of at least one network, got none")
    found: dict[str, pd.DataFrame] = {}
    for run, table in tables.items():
        require(table, "side", "part", "knn", "silhouette", "fisher", "kept", "k")
        for side, rows in table.groupby("side", sort=False):
            if rows.knn.isna().all():
                continue
            if side == "student":
                found[run or side] = rows
            elif not any(_alike(old, rows) for old in found.values()):
                found["teacher" if "teacher" not in found else f"teacher of {run}"] = rows
    if not found:
        raise ValueError(
            f"none of {', '.join(filter(None, tables)) or 'the sides'} has enough rows without NaN "
            f"or inf to look at: need two classes and more rows than neighbours"
        )
    return found


def _alike(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return bool((one[SAME].iloc[0] == other[SAME].iloc[0]).all())


def _difference(whole: Mapping[str, pd.Series], one: str, other: str) -> Interval:
    a, b = whole[one], whole[other]
    return difference_of_shares(a.knn, a.n, b.knn, b.n)


def _said(names: list[str], found: list[Interval]) -> str:
    pairs = zip(names, found, strict=True)
    return ", ".join(f"{name} {one.points()} ({one.verdict})" for name, one in pairs)


def _rows(row: pd.Series) -> str:
    """How many rows were looked at, and of how many where these were drawn."""
    drawn = row.n + row.non_finite < row.labelled
    return f"{row.n:,}" + (f" drawn from {row.labelled:,}" if drawn else "")


@Embedding.shortens
def numbers_of_networks(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows over all samples, without what belongs to a class or a sample."""
    rows = table[table.part == "all"]
    return rows.drop(columns=["part", "class", "row", "x", "y"])


@Embedding.picture(CAPTION, of_all=True, names=True, panels=True)
def embeddings(tables: Tables, names: Names = None) -> Figure:
    """One panel a network: the rows drawn, a colour a class, beyond nine classes a mark too.

    Above each stand k-NN accuracy with its 95 % interval, silhouette and Fisher ratio of the
    features. The axes have no unit, and no two panels share one.
    """
    found = networks(tables)
    points = {name: rows[rows.part == "sample"] for name, rows in found.items()}
    classes = sorted({int(c) for rows in points.values() for c in rows["class"]})
    figure, axes = panel_grid(len(found), ACROSS, PAGE, PANEL, 1.2, sharex=False, sharey=False)
    labels = class_names(classes[-1] + 1, names)
    fisher = numerals(*(rows.fisher.iloc[0] for rows in found.values()))
    for ax, (name, rows), ratio in zip(axes, found.items(), fisher, strict=True):
        _draw(ax, points[name], labels)
        whole = rows.iloc[0]
        ax.set_title(
            f"{short(name, 24, found)}: {whole.k}-NN {share_of(whole.knn, whole.n)}\nsilhouette "
            f"{written(whole.silhouette, '.2f')}, Fisher ratio {ratio}",
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
        f"one picture of many: perplexity {numeral(first.perplexity)}, seed {first.seed}"
        f"{state_left_out(table)}",
        fontsize=fine(),
    )
    return figure


@Embedding.picture(CAPTION, names=True, panels=True)
def embedding(table: pd.DataFrame, names: Names = None) -> Figure:
    """The sides of a single table."""
    return embeddings({"": table}, names)


def _draw(ax: Axes, points: pd.DataFrame, labels: Sequence[str]) -> None:
    for (number, right), rows in points.groupby(["class", "knn"]):
        colour, marker = LOOKS[int(number) % len(LOOKS)]
        fill = {"markerfacecolor": colour if right else "none", "markeredgecolor": colour}
        ax.plot(rows.x, rows.y, marker, markersize=3.2, markeredgewidth=0.8, **fill)
    for number in sorted(points["class"].unique()):
        colour, marker = LOOKS[int(number) % len(LOOKS)]
        name = short(labels[int(number)], 16, labels)
        ax.plot([], [], marker, color=colour, markersize=4, label=name)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=FAINT)
