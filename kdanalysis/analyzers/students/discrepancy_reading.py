"""Class-mean discrepancy in words: one number a map, and which student is closer to its teacher."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.method import name_by_method
from kdanalysis.draw.look import names_in, require, short

CALLED = {"logits": "centred logits", "probability": "softmax", "correlation": "correlation"}
BEYOND = 1.2  # times chance


class Size(NamedTuple):
    """Root mean square of a map's cells (its Frobenius norm over c), and what chance makes of it.

    ``chance`` is the root mean square that the standard errors alone would make; NaN where there
    are none, as of correlations.
    """

    rms: float
    chance: float

    @property
    def beyond(self) -> bool:
        """Whether it is more than 1.2 times chance; true where nothing is known of that.

        At 1.2 times chance the true differences have 2/3 of its size.
        """
        return bool(np.isnan(self.chance) or self.rms > BEYOND * self.chance)

    def __str__(self) -> str:
        if np.isnan(self.rms):
            return "no value"
        return f"rms {self.rms:.2g}" + (
            "" if np.isnan(self.chance) else f" (chance {self.chance:.2g})"
        )


def size(table: pd.DataFrame, kind: str) -> Size:
    """Size of a map: of means over the cells that have a standard error, all where none has one.

    Of correlations over all but the diagonal, which is 0.
    """
    cells = matrix(table, kind)
    counting = np.isfinite(cells)
    if kind == "correlation":
        return Size(_root_mean_square(cells[counting & ~np.eye(len(cells), dtype=bool)]), np.nan)
    errors = matrix(table, f"{kind}_se")
    if np.isfinite(errors).any():
        counting &= np.isfinite(errors)
    return Size(_root_mean_square(cells[counting]), _root_mean_square(errors[counting]))


def _root_mean_square(cells: np.ndarray) -> float:
    return float(np.sqrt((cells**2).mean())) if cells.size else np.nan


def matrix(table: pd.DataFrame, kind: str) -> np.ndarray:
    """A column of the table as a square, given class by class; ``correlation`` is a difference."""
    if kind == "correlation":
        change = matrix(table, "student_correlation") - matrix(table, "teacher_correlation")
        return change.round(12)  # smaller differences are rounding
    require(table, "given", "class", kind)
    return table.pivot(index="given", columns="class", values=kind).to_numpy(dtype=float)


@ClassDiscrepancy.shortens
def map_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Columns map, rms, chance, mean_abs, largest_abs: what the cells of every map come to."""
    rows = []
    for kind, called in CALLED.items():
        cells = pd.Series(np.abs(matrix(table, kind)).flatten()).dropna()
        rows.append((called, *size(table, kind), cells.mean(), cells.max()))
    return pd.DataFrame(rows, columns=["map", "rms", "chance", "mean_abs", "largest_abs"])


@ClassDiscrepancy.reads(names=True)
def discrepancy_reading(table: pd.DataFrame, names: Sequence[str] | None = None) -> Reading:
    """Whether the class means differ beyond chance, on the class itself, and where.

    The widest gap is looked for where there is a standard error. The number is that of every map.
    """
    check_students({"": table})
    sizes = {kind: size(table, kind) for kind in CALLED}
    number = "; ".join(f"{CALLED[kind]}: {found}" for kind, found in sizes.items())
    found, chance = sizes["logits"]
    if np.isnan(chance):
        return Reading(
            f"The class means differ by {found:.2g} (rms); one sample a class shows no chance.",
            number,
        )
    claim = f"class means of the logits differ by {found:.2g} (rms), by chance {chance:.2g}"
    if not sizes["logits"].beyond:
        told = "These data do not show the student depart from its teacher by class"
        return Reading(f"{told}: {claim}.", number)
    own = np.nanmean(np.diag(matrix(table, "logits")))
    widest = table.loc[table.logits.abs().where(table.logits_se.notna()).idxmax()]
    labels = names_in(table, names)
    given, other = (short(labels[int(widest[column])]) for column in ("given", "class"))
    by_target = table.given_by.iloc[0] == "target"
    where = "In images of a class" if by_target else "Where the teacher sees a class"
    sentence = (
        f"The student departs from its teacher by class: {claim}. {where} it gives "
        f"that class {_signed(own)} than its teacher (mean over classes); the widest gap is "
        f"{_signed(widest.logits)} for {other} given {given} (standard error "
        f"{widest.logits_se:.2g})."
    )
    return Reading(sentence, number)


def _signed(value: float) -> str:
    return f"{abs(value):.2g} {'more' if value > 0 else 'less'}"


@ClassDiscrepancy.reads(of_all=True)
def students_reading(tables: Mapping[str, pd.DataFrame]) -> Reading:
    """In which kinds DKD is closer to its teacher than KD, and who is closest; sizes by kind."""
    check_students(tables)
    sizes = {kind: {name: size(t, kind) for name, t in tables.items()} for kind in CALLED}
    number = "; ".join(
        f"{CALLED[kind]}: " + ", ".join(f"{name} {found}" for name, found in of.items())
        for kind, of in sizes.items()
    )
    sizes = {k: of for k, of in sizes.items() if not any(np.isnan(x.rms) for x in of.values())}
    if not sizes:
        return Reading("No map has a number for every student, so they cannot be compared.", number)
    rms = {kind: {name: x.rms for name, x in of.items()} for kind, of in sizes.items()}
    closest = ", ".join(f"{min(of, key=of.get)} in {CALLED[kind]}" for kind, of in rms.items())
    students = name_by_method(tables)
    parts = [f"Closest to the teacher: {closest}. One student each: another seed is another one."]
    if {"dkd", "kd"} <= students.keys():
        parts.insert(0, _against(rms, students["dkd"], students["kd"]))
    chancy = [CALLED[kind] for kind, of in sizes.items() if not any(x.beyond for x in of.values())]
    if chancy:
        parts.append(f"No student departs beyond chance in {', '.join(chancy)}.")
    return Reading(" ".join(parts), number)


def check_students(tables: Mapping[str, pd.DataFrame]) -> int:
    """Return the number of classes that all tables share.

    Raises:
        ValueError: there are no tables, one holds no value, or they have different classes.
    """
    if not tables:
        raise ValueError("need the table of at least one student, got none")
    for table in tables.values():
        require(table, "given", "class", "given_by", "logits_se", number="logits")
    found = {int(table["class"].max()) + 1 for table in tables.values()}
    if len(found) > 1:
        raise ValueError(f"the tables have {sorted(found)} classes, need the same in all of them")
    return found.pop()


def _against(rms: Mapping[str, Mapping[str, float]], one: str, other: str) -> str:
    """In which kinds one student is closer to its teacher than another."""
    closer, rest = [], []
    for kind, of in rms.items():
        text = f"{CALLED[kind]} ({of[one]:.2g} against {of[other]:.2g})"
        (closer if of[one] < of[other] else rest).append(text)
    if not closer:
        return (
            f"These data do not show {one} closer to its teacher than {other}: {', '.join(rest)}."
        )
    but = f", not in {', '.join(rest)}" if rest else ""
    return f"{one} is closer to its teacher than {other} in {', '.join(closer)}{but}."
