"""Class-mean discrepancy drawn (figure 13): where students depart from their teacher."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdanalysis.analyzers.noun import Names, Tables
from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.discrepancy_reading import check_students, matrix, size
from kdanalysis.core.wording import UNKNOWN, numerals
from kdanalysis.draw.colours import FAINT, GREY
from kdanalysis.draw.look import PAGE, Axes, Figure, even_columns, fine, new_panels
from kdanalysis.draw.names import class_names, short
from kdanalysis.draw.order import group_names, like_together
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.tables import state_left_out

KINDS = {
    "logits": "student less teacher:\ncentred logits",
    "probability": "student less teacher:\nsoftmax at T = {temperature:g}",
    "correlation": "student less teacher:\ncorrelation of classes",
}
BY_CLASS = (
    "Student less teacher by class; classes that are alike to the teacher stand together. All maps "
    "of a kind share one colour scale, made for the cells off the diagonal, where published ones "
    "are rescaled one by one; chance is what standard errors alone would make of the number"
)
OF_CLASSES = "Correlation of the classes' logits; classes alike to the teacher stand together"
NAMED = 12  # of more classes than this groups of like ones are named
GROUPS = 8  # so many at most
CLIP = 0.995  # of all cells of a kind off the diagonal lie within the colour scale
PANEL = 1.95  # height of a map, inches
SCALE = "RdBu"  # blue is more in the student


@ClassDiscrepancy.picture(BY_CLASS, of_all=True, names=True, panels=True)
def discrepancy_maps(tables: Tables, names: Names = None) -> Figure:
    """One row a student: mean difference of the logits, of the softmax, and of correlations.

    All maps of a column share one colour scale, symmetric about 0 and wide enough for 99.5 % of
    their cells off the diagonal; the bar's pointed ends stand for the rest. Published maps of this
    kind are rescaled one by one, so that a student far from its teacher looks like one near by.
    Above every map stands the root mean square of its cells, of all and of those off the diagonal,
    with that of their standard errors. Classes stand in the order of :func:`class_order`.
    """
    check_students(tables)
    groups, labels = class_order(tables, names)
    order = [member for group in groups for member in group]
    figure, grid = new_panels(
        len(tables),
        len(KINDS),
        figsize=(PAGE, 1.7 + PANEL * len(tables)),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for column, (kind, title) in zip(grid.T, KINDS.items(), strict=True):
        maps = [matrix(table, kind)[np.ix_(order, order)] for table in tables.values()]
        off = ~np.eye(len(order), dtype=bool)
        limit = shared_limit([cells[off] for cells in maps])
        for ax, cells, told in zip(column, maps, sizes(tables, kind), strict=True):
            image = _map(ax, cells, limit)
            ax.set_title(told, loc="left", fontsize=fine())
        more = any(np.nanmax(np.abs(cells), initial=0) > limit for cells in maps)
        label = title.format(temperature=next(iter(tables.values())).temperature.iloc[0])
        figure.colorbar(
            image, ax=column, location="bottom", label=label, aspect=14, pad=0.02,
            extend="both" if more else "neither",
        )  # fmt: skip
    _label(grid.flatten().tolist(), len(KINDS), (groups, labels), next(iter(tables.values())))
    for row, name in zip(grid, tables, strict=True):
        if name:
            row[0].set_ylabel(
                f"{short(name, among=tables)}\n{row[0].get_ylabel()}", parse_math=False
            )
    return figure


@ClassDiscrepancy.picture(BY_CLASS, names=True, panels=True)
def discrepancy_map(table: pd.DataFrame, names: Names = None) -> Figure:
    """Maps of a single student."""
    return discrepancy_maps({"": table}, names)


@ClassDiscrepancy.picture(OF_CLASSES, of_all=True, names=True, panels=True)
def correlation_maps(tables: Tables, names: Names = None) -> Figure:
    """Correlation of the classes' centred logits: the teacher's, then every student's.

    One colour scale from -1 to 1. The matrices are symmetric: names stand on the left alone.
    Where students saw different samples each one's teacher stands before it.
    """
    check_students(tables)
    groups, labels = class_order(tables, names)
    order = [member for group in groups for member in group]
    panels = correlations(tables)
    across = even_columns(len(panels), 4)
    figure, axes = panel_grid(len(panels), across, max(4.0, 0.6 + 1.6 * across), 1.5, 1.2)
    for ax, (title, cells) in zip(axes, panels, strict=True):
        image = _map(ax, cells[np.ix_(order, order)], 1.0)
        ax.set_title(short(title, 14, [name for name, _ in panels]), loc="left", parse_math=False)
    _label(axes, across, (groups, labels), next(iter(tables.values())), "class")
    for ax in figure.axes:
        ax.set_xticks([])
    label = "correlation of centred logits over samples"
    figure.colorbar(image, ax=figure.axes, location="bottom", label=label, aspect=40, pad=0.02)
    return figure


@ClassDiscrepancy.picture(OF_CLASSES, names=True, panels=True)
def correlation_map(table: pd.DataFrame, names: Names = None) -> Figure:
    """Correlations of a single student."""
    return correlation_maps({"": table}, names)


def correlations(tables: Tables) -> list[tuple[str, np.ndarray]]:
    """Titles and matrices: a teacher where it is another than the one before, then the student."""
    panels, before = [], None
    for name, table in tables.items():
        teacher = matrix(table, "teacher_correlation")
        if before is None or not np.allclose(teacher, before, equal_nan=True):
            panels.append(("teacher" if before is None else f"teacher of {name}", teacher))
        panels.append((name or "student", matrix(table, "student_correlation")))
        before = teacher
    return panels


def class_order(tables: Tables, names: Names) -> tuple[list[list[int]], list[str]]:
    """Classes that rise together in the first table's teacher side by side, in groups with names.

    Up to 12 classes are a group each; of more there are at most 8, named by their most typical one.
    """
    likeness = matrix(next(iter(tables.values())), "teacher_correlation")
    called = class_names(len(likeness), names)
    groups = like_together(likeness, len(likeness) if len(likeness) <= NAMED else GROUPS)
    return groups, group_names(groups, likeness, [short(name, 10, called) for name in called])


def sizes(tables: Tables, kind: str) -> list[str]:
    """Size of every map, and of its cells off the diagonal, where a correlation says all there is.

    Those of a kind have the same decimals.
    """
    found = []
    for table in tables.values():
        found.append({"rms": size(table, kind)})
        if kind == "correlation":
            found[-1] = {"off diag. rms": found[-1]["rms"]}
            continue
        off = size(table.assign(**{kind: table[kind].where(table.given != table["class"])}), kind)
        found[-1] |= {} if np.isnan(off.rms) else {"off diag.": off}
    told = iter(numerals(*(x for of in found for one in of.values() for x in one[:2])))
    return ["\n".join(_size(name, next(told), next(told)) for name in of) for of in found]


def _size(name: str, rms: str, chance: str) -> str:
    if rms == UNKNOWN:
        return "no value"
    by_chance = f" ({'chance ' * (name == 'rms')}{chance})"
    return f"{name} {rms}{'' if chance == UNKNOWN else by_chance}"


def shared_limit(maps: Sequence[np.ndarray]) -> float:
    """End of the colour scale: 99.5 % of all cells are within, or 1 where they are all 0."""
    cells = np.abs(np.concatenate([cells.flatten() for cells in maps]))
    cells = cells[np.isfinite(cells)]
    if not cells.size:
        return 1.0
    return float(np.quantile(cells, CLIP)) or float(cells.max()) or 1.0


def _map(ax: Axes, cells: np.ndarray, limit: float) -> object:
    ax.set_facecolor(FAINT)  # cells without a number
    return ax.imshow(
        cells, cmap=SCALE, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )


def _label(
    shown: list[Axes],
    across: int,
    classes: tuple[list[list[int]], list[str]],
    table: pd.DataFrame,
    given: str = "",
) -> None:
    """Ticks and names of the axes on the left and at the bottom."""
    given = given or {"target": "true class", "teacher": "teacher's class"}.get(
        table.given_by.iloc[0], "true or teacher's class"
    )
    for ax in shown[::across]:
        ax.set_ylabel(given)
    for ax in shown[-across:]:  # nothing stands below them
        ax.set_xlabel("class")
        ax.tick_params(labelbottom=True)
    for ax in shown:
        _mark_classes(ax, *classes)
    if left_out := state_left_out(table):
        shown[0].figure.supxlabel(left_out.strip(), fontsize=fine())


def _mark_classes(ax: Axes, groups: list[list[int]], labels: list[str]) -> None:
    """Names of few classes; of many a line between groups, and the names of those with room."""
    ends = np.cumsum([len(group) for group in groups])
    middles = ends - [(len(group) + 1) / 2 for group in groups]
    if ends[-1] > len(groups):
        for end in ends[:-1]:
            for line in (ax.axhline, ax.axvline):
                line(end - 0.5, color=GREY, linewidth=0.6)
    room = [len(group) * NAMED >= ends[-1] for group in groups]
    texts = [text for text, there in zip(labels, room, strict=True) if there]
    ax.set_yticks(middles[room], labels=texts, parse_math=False)
    if ends[-1] > len(groups):  # the columns are those of the lines
        ax.set_xticks([])
    else:
        turned = 90 if max(map(len, texts)) > 2 else 0
        ax.set_xticks(middles, labels=texts, parse_math=False, rotation=turned)
