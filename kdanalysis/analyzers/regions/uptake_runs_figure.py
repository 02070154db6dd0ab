"""Uptake of several students in one picture: what each says in the cells of its teacher."""

from collections.abc import Mapping

import pandas as pd

from kdanalysis.analyzers.regions.uptake_figure import SAYS, last_epoch
from kdanalysis.draw.look import BLUE, GREY, PAGE, VERMILION, Figure, new_panels, short, styled

KINDS = {"same": ("where cell and image agree", BLUE), "other": ("where not", VERMILION)}


@styled
def uptake_of_runs(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """A line a student: how often it names the teacher's class, at its last epoch.

    At the finest scale that all have. Filled marks are the teacher's class of the cell, hollow
    ones its class of the whole image where that is another.

    Args:
        tables: as ``RegionUptake.table`` gives them, by student.

    Raises:
        ValueError: the students have no scale in common.
    """
    rows = run_shares(tables)
    runs = list(tables)
    figure, ax = new_panels(1, 1, figsize=(PAGE, 1.3 + 0.42 * len(runs)))
    for row in rows.itertuples():
        colour = KINDS[row.kind][1]
        for name, (fill, _) in SAYS.items():
            if name == "local" or row.kind == "other":
                value, place = 100 * getattr(row, name), runs.index(row.run)
                look = {"fillstyle": fill, "markersize": 9, "markeredgewidth": 2}
                ax.plot(value, place, "o", color=colour, **look)
    for text, colour, fill in (
        (KINDS["same"][0], BLUE, "full"),
        (f"{KINDS['other'][0]}: the cell's class", VERMILION, "full"),
        (f"{KINDS['other'][0]}: the image's class", VERMILION, "none"),
    ):
        ax.plot([], [], "o", color=colour, fillstyle=fill, markersize=9, label=text)
    handles = ax.lines[-3:]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)
    ax.set_yticks(range(len(runs)), labels=[short(run, 24) for run in runs], parse_math=False)
    ax.set_ylim(len(runs) - 0.4, -0.6)
    ax.set_xlim(0, min(100, 115 * float(rows[list(SAYS)].max(axis=None)) or 1))
    ax.grid(axis="x", color=GREY, alpha=0.3, linewidth=0.6)
    scale = rows.scale.iloc[0]
    ax.set_xlabel(f"{scale} x {scale} cells in which the student names the teacher's class (%)")
    return figure


def uptake_runs_number(tables: Mapping[str, pd.DataFrame]) -> str:
    """Share of cells of another class in which each student names that class."""
    rows = run_shares(tables).query("kind == 'other' and n > 0")
    return "; ".join(
        f"{row.run}: {row.local:.1%}, the image's class {row.whole:.1%} (n = {row.n:,})"
        for row in rows.itertuples()
    )


def uptake_runs_sentence(tables: Mapping[str, pd.DataFrame]) -> str:
    """What to read: which student takes up most of what its teacher says in cells of their own."""
    rows = run_shares(tables)
    other = rows[(rows.kind == "other") & (rows.n > 0)].sort_values("local", kind="stable")
    if len(other) < 2:
        return "There are no two students with cells that name another class than their image."
    least, most = other.iloc[0], other.iloc[-1]
    return (
        f"Where a cell names another class than the whole image at scale {most.scale}, "
        f"{most.run} says so most often, in {most.local:.1%} of the cells, and {least.run} least "
        f"often, in {least.local:.1%}. Between single trainings a small difference is chance."
    )


def run_shares(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return run, scale, kind ("same" or "other"), n, local, whole, at the finest common scale."""
    found = {run: last_epoch(table) for run, table in tables.items()}
    common = set.intersection(*(set(scales) for scales in found.values()))
    if not common:
        raise ValueError("the students' regions have no scale in common")
    scale = max(common)
    return pd.DataFrame(
        {"run": run, "scale": scale, "kind": kind, **part}
        for run, scales in found.items()
        for kind, part in zip(KINDS, scales[scale], strict=True)
    )
