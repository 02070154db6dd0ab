"""Class-mean discrepancy drawn (figure 13): where students depart from their teacher."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.discrepancy_reading import check_students, matrix, size
from kdanalysis.draw.look import (
    FAINT,
    PAGE,
    Axes,
    Figure,
    class_names,
    few_ticks,
    new_panels,
    short,
    state_left_out,
)
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.settings import fine

KINDS = {
    "logits": "student less teacher:\ncentred logits",
    "probability": "student less teacher:\nsoftmax at T = {temperature:g}",
    "correlation": "student less teacher:\ncorrelation of classes",
}
BY_CLASS = (
    "Student less teacher by class; all maps of a kind share one colour scale, where published "
    "ones are rescaled one by one; chance is what standard errors alone would make of the number"
)
OF_CLASSES = "Correlation of the classes' logits"
NAMED = 12  # more classes than this are numbered
CLIP = 0.995  # of all cells of a kind lie within the colour scale
PANEL = 1.9  # height of a map, inches
SCALE = "RdBu"  # blue is more in the student


@ClassDiscrepancy.picture(BY_CLASS, of_all=True, names=True, panels=True)
def discrepancy_maps(
    tables: Mapping[str, pd.DataFrame], names: Sequence[str] | None = None
) -> Figure:
    """One row a student: mean difference of the logits, of the softmax, and of correlations.

    All maps of a column share one colour scale, symmetric about 0 and wide enough for 99.5 % of
    their cells; the bar's pointed ends stand for the rest. Published maps of this kind are
    rescaled one by one, so that a student far from its teacher looks like one near by. Above every
    map stands the root mean square of its cells, with that of their standard errors.
    """
    classes = check_students(tables)
    figure, grid = new_panels(
        len(tables),
        len(KINDS),
        figsize=(PAGE, 1.6 + PANEL * len(tables)),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for column, (kind, title) in zip(grid.T, KINDS.items(), strict=True):
        maps = [matrix(table, kind) for table in tables.values()]
        limit = shared_limit(maps)
        for ax, cells, table in zip(column, maps, tables.values(), strict=True):
            image = _map(ax, cells, limit)
            ax.set_title(str(size(table, kind)), loc="left", fontsize=fine())
        more = any(np.nanmax(np.abs(cells), initial=0) > limit for cells in maps)
        label = title.format(temperature=next(iter(tables.values())).temperature.iloc[0])
        figure.colorbar(
            image, ax=column, location="bottom", label=label, aspect=14, pad=0.02,
            extend="both" if more else "neither",
        )  # fmt: skip
    labels = class_names(classes, names)
    _label(grid.flatten().tolist(), len(KINDS), labels, next(iter(tables.values())))
    for row, name in zip(grid, tables, strict=True):
        _name_row(row[0], name)
    return figure


@ClassDiscrepancy.picture(BY_CLASS, names=True, panels=True)
def discrepancy_map(table: pd.DataFrame, names: Sequence[str] | None = None) -> Figure:
    """Maps of a single student."""
    return discrepancy_maps({"": table}, names)


@ClassDiscrepancy.picture(OF_CLASSES, of_all=True, names=True, panels=True)
def correlation_maps(
    tables: Mapping[str, pd.DataFrame], names: Sequence[str] | None = None
) -> Figure:
    """Correlation of the classes' centred logits: the teacher's, then every student's.

    One colour scale from -1 to 1. The matrices are symmetric: names stand on the left alone.
    Where students saw different samples each one's teacher stands before it.
    """
    classes = check_students(tables)
    panels = correlations(tables)
    across = min(len(panels), 4)
    figure, axes = panel_grid(len(panels), across, max(4.0, 0.6 + 1.6 * across), 1.5, 1.2)
    for ax, (title, cells) in zip(axes, panels, strict=True):
        image = _map(ax, cells, 1.0)
        ax.set_title(short(title), loc="left", parse_math=False)
    _label(axes, across, class_names(classes, names), next(iter(tables.values())), "class")
    if classes <= NAMED:
        for ax in figure.axes:
            ax.tick_params(labelbottom=False)
    label = "correlation of centred logits over samples"
    figure.colorbar(image, ax=figure.axes, location="bottom", label=label, aspect=40, pad=0.02)
    return figure


@ClassDiscrepancy.picture(OF_CLASSES, names=True, panels=True)
def correlation_map(table: pd.DataFrame, names: Sequence[str] | None = None) -> Figure:
    """Correlations of a single student."""
    return correlation_maps({"": table}, names)


def correlations(tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, np.ndarray]]:
    """Titles and matrices: a teacher where it is another than the one before, then the student."""
    panels, before = [], None
    for name, table in tables.items():
        teacher = matrix(table, "teacher_correlation")
        if before is None or not np.allclose(teacher, before, equal_nan=True):
            panels.append(("teacher" if before is None else f"teacher of {name}", teacher))
        panels.append((name or "student", matrix(table, "student_correlation")))
        before = teacher
    return panels


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
    shown: list[Axes], across: int, labels: list[str], table: pd.DataFrame, given: str = ""
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
        _mark_classes(ax, labels)
    if left_out := state_left_out(table):
        shown[0].figure.supxlabel(left_out.strip(), fontsize=fine())


def _mark_classes(ax: Axes, labels: list[str]) -> None:
    """Names of few classes, numbers of many."""
    if len(labels) > NAMED:
        for axis in (ax.xaxis, ax.yaxis):
            few_ticks(axis, 5, integer=True)
        return
    texts = [short(label, 10) for label in labels]
    turned = 90 if max(map(len, texts)) > 2 else 0
    ax.set_yticks(range(len(texts)), labels=texts, parse_math=False)
    ax.set_xticks(range(len(texts)), labels=texts, parse_math=False, rotation=turned)


def _name_row(ax: Axes, name: str) -> None:
    if name:
        ax.set_ylabel(f"{short(name)}\n{ax.get_ylabel()}", parse_math=False)
