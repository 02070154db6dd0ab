"""What was measured as rows of one table, each with its goal beside it."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

Figures = Mapping[str, object]


class Goal(NamedTuple):
    """Which figure of a measure's entry is held against which bound."""

    measure: str
    entry: str  # may be a pattern
    figure: str  # key of the number
    word: str  # "at most" or "at least"
    bound: float
    rows: int = 0  # fewer say nothing about the goal

    def __str__(self) -> str:
        return f"{self.word} {self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a figure reaches the bound."""
        return value <= self.bound if self.word == "at most" else value >= self.bound


OURS, PLAIN = "ours_over_plain", "plain_over_ours"
ALONE = {"seconds": "s", "mb_per_s": "mb_per_s"}  # figures that stand for ours, and their units
GOALS = (
    Goal("commands", "--help", OURS, "at most", 10),
    Goal("commands", "table", OURS, "at most", 1.15),
    Goal("commands", "diagnose", OURS, "at most", 1.35),
    Goal("commands", "sweep", OURS, "at most", 1.25),
    Goal("commands", "compare*", OURS, "at most", 1.35),
    Goal("commands", "report*", OURS, "at most", 2),
    Goal("quickstart", "page", OURS, "at most", 3),
    Goal("quickstart", "whole", OURS, "at most", 20),
    Goal("quickstart", "size", "ours_mb", "at most", 2.5),
    Goal("reading", "*", OURS, "at least", 1),
    Goal("closed_form", "* over published", PLAIN, "at least", 5),
    Goal("closed_form", "*values against gradients", OURS, "at most", 1),
    Goal("sweep", "sweep", PLAIN, "at least", 150),
    Goal("sweep", "sweep_4_temperatures", PLAIN, "at least", 200),
    Goal("sweep", "sweep_1000_classes", PLAIN, "at least", 40),
    Goal("sweep", "few k, 32000 classes", "ours_ms_per_token", "at most", 5),
    Goal("sweep", "few k, 152000 classes", "ours_ms_per_token", "at most", 30),
    Goal("truncation", "sparse, *", OURS, "at most", 2),
    Goal("truncation", "dense, *, 152000 classes, *", "ours_ms_per_token", "at most", 1.46),
    Goal("vocabulary", "diagnose, *", "ours_ms_per_token", "at most", 10),
    Goal("vocabulary", "memory *", "ours_mb", "at most", 1000),
    Goal("vocabulary", "store, *", "ours_bytes_per_token", "at most", 1000),
    Goal("imagenet", "*", "seconds", "at most", 30, rows=1_280_000),
    Goal("capture", "every_step", OURS, "at most", 1.03),
    Goal("parameter", "every_50th_step", OURS, "at most", 1.08),
    Goal("parameter", "4 terms, wide *", OURS, "at most", 1.2),
    Goal("parameter", "memory, wide *", "ours_gradients", "at most", 4),
    Goal("store", "size", OURS, "at most", 0.5),
    Goal("memory", "*", "large_over_small", "at most", 1.2),
)


class Row(NamedTuple):
    """One line of the table; what was not measured, or has no goal, is None."""

    name: str
    ours: float | None
    plain: float | None
    unit: str
    ratio: float | None
    goal: str | None
    holds: bool | None


def rows_of(figures: Mapping[str, Mapping[str, Figures]]) -> list[Row]:
    """Return a row for every entry of every measure, in their order.

    Args:
        figures: by measure, then by entry. ``ours_UNIT`` and ``plain_UNIT`` are what was measured;
            the ratio is the figure of the entry's goal; where there is no goal, ours over plain.
    """
    return [
        row_of(measure, entry, found)
        for measure, entries in figures.items()
        for entry, found in entries.items()
    ]


def row_of(measure: str, entry: str, found: Figures) -> Row:
    """Return the row of one entry."""
    goal = goal_of(measure, entry, found)
    ours, unit = first(found, "ours_")
    plain, _ = first(found, "plain_")
    key = goal.figure if goal else next((k for k in (OURS, PLAIN) if k in found), "")
    value = found.get(key)
    held = None if goal is None or value is None else goal.holds(value)
    ratio = value if "_over_" in key else None
    return Row(f"{measure}: {entry}", ours, plain, unit, ratio, goal and str(goal), held)


def goal_of(measure: str, entry: str, found: Figures) -> Goal | None:
    """Return the goal of an entry; None where there is none, or too little was looked at."""
    fitting = (g for g in GOALS if g.measure == measure and fnmatchcase(entry, g.entry))
    return next((g for g in fitting if found.get("rows", g.rows) >= g.rows), None)


def first(found: Figures, prefix: str) -> tuple[float | None, str]:
    """Return the first ``ours_`` or ``plain_`` figure with its unit."""
    for key, value in found.items():
        unit = key.removeprefix(prefix)
        if key.startswith(prefix) and not unit.startswith("over_"):
            return value, unit
        if prefix == "ours_" and key in ALONE:
            return value, ALONE[key]
    return None, ""


def as_text(rows: list[Row]) -> str:
    """Return the rows as a Markdown table, which a terminal shows as well."""
    cells = [("what", "ours", "plain", "ratio", "goal", "reached"), *map(cells_of, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))


def cells_of(row: Row) -> tuple[str, ...]:
    """Write a row's numbers with three digits."""
    unit = row.unit.replace("_per_", "/")
    ours, plain = ("" if x is None else f"{number(x)} {unit}" for x in (row.ours, row.plain))
    ratio = "" if row.ratio is None else number(row.ratio)
    reached = {None: "", True: "yes", False: "no"}[row.holds]
    return row.name, ours, plain, ratio, row.goal or "", reached


def number(value: float) -> str:
    """Three digits, more where the number is larger; no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
