"""Class-mean discrepancy in words: one number a map, and which student is closer to its teacher."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdanalysis.analyzers.students.method import name_by_method
from kdanalysis.draw.look import class_names, require, short

KINDS = {
    "logits": "student less teacher:\ncentred logits",
    "probability": "student less teacher:\nsoftmax at T = {temperature:g}",
    "correlation": "student less teacher:\ncorrelation of classes",
}
BEYOND = 1.2  # times chance
CALLED = {"logits": "centred logits", "probability": "softmax", "correlation": "correlation"}


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


def matrix(table: pd.DataFrame, kind: str) -> np.ndarray:
    """A column of the table as a square, given class by class; ``correlation`` is a difference."""
    if kind == "correlation":
        change = matrix(table, "student_correlation") - matrix(table, "teacher_correlation")
        return change.round(12)  # smaller differences are rounding
    require(table, "given", "class", kind)
    return table.pivot(index="given", columns="class", values=kind).to_numpy(dtype=float)


def root_mean_square(table: pd.DataFrame, kind: str) -> float:
    """Root mean square of the cells of a map (its Frobenius norm over c).

    Of means those cells count that have a standard error, so that the number may be held against
    ``chance``; all where none has one. Of correlations all but the diagonal, which is 0.
    """
    return _root_mean_square(matrix(table, kind)[_counting(table, kind)])


def chance(table: pd.DataFrame, kind: str) -> float:
    """Root mean square that the standard errors alone would make; NaN for correlations."""
    if kind == "correlation":
        return np.nan
    return _root_mean_square(matrix(table, f"{kind}_se")[_counting(table, kind)])


def beyond(table: pd.DataFrame, kind: str) -> bool:
    """Whether a map's number is more than 1.2 times what chance alone would make it.

    At 1.2 times chance the true differences have 2/3 of its size. True of correlations, of whose
    chance nothing is known.
    """
    by_chance = chance(table, kind)
    return bool(np.isnan(by_chance) or root_mean_square(table, kind) > BEYOND * by_chance)


def numbers(table: pd.DataFrame, kind: str) -> str:
    """Root mean square of a map, with the one that chance alone would give where it is known."""
    found, by_chance = root_mean_square(table, kind), chance(table, kind)
    if np.isnan(found):
        return "no value"
    return f"rms {found:.2g}" + ("" if np.isnan(by_chance) else f" (chance {by_chance:.2g})")


def discrepancy_number(table: pd.DataFrame) -> str:
    """The number of every map."""
    check_students({"": table})
    return "; ".join(f"{called}: {numbers(table, kind)}" for kind, called in CALLED.items())


def discrepancy_sentence(table: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """What to read: whether the class means differ beyond chance, on the class itself, and where.

    See ``beyond``; the widest gap is looked for where there is a standard error.
    """
    check_students({"": table})
    found, by_chance = root_mean_square(table, "logits"), chance(table, "logits")
    if np.isnan(by_chance):
        return f"The class means differ by {found:.2g} (rms); one sample a class shows no chance."
    claim = f"class means of the logits differ by {found:.2g} (rms), by chance {by_chance:.2g}"
    if not beyond(table, "logits"):
        return f"These data do not show the student depart from its teacher by class: {claim}."
    own = np.nanmean(np.diag(matrix(table, "logits")))
    widest = table.loc[table.logits.abs().where(table.logits_se.notna()).idxmax()]
    labels = class_names(int(table["class"].max()) + 1, names)
    given, other = (short(labels[int(widest[column])]) for column in ("given", "class"))
    return (
        f"The student departs from its teacher by class: {claim}. {_given(table)} it gives "
        f"that class {_signed(own)} than its teacher (mean over classes); the widest gap is "
        f"{_signed(widest.logits)} for {other} given {given} (standard error "
        f"{widest.logits_se:.2g})."
    )


def map_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Columns map, rms, chance, mean_abs, largest_abs: what the cells of every map come to."""
    rows = []
    for kind, called in CALLED.items():
        cells = pd.Series(np.abs(matrix(table, kind)).flatten()).dropna()
        row = root_mean_square(table, kind), chance(table, kind), cells.mean(), cells.max()
        rows.append((called, *row))
    return pd.DataFrame(rows, columns=["map", "rms", "chance", "mean_abs", "largest_abs"])


def students_number(tables: Mapping[str, pd.DataFrame]) -> str:
    """Root mean square of every map, by kind."""
    check_students(tables)
    return "; ".join(
        f"{called}: " + ", ".join(f"{n} {numbers(t, kind)}" for n, t in tables.items())
        for kind, called in CALLED.items()
    )


def students_sentence(tables: Mapping[str, pd.DataFrame]) -> str:
    """What to read: in which kinds DKD is closer to its teacher than KD, and who is closest."""
    check_students(tables)
    rms = {k: {n: root_mean_square(t, k) for n, t in tables.items()} for k in KINDS}
    rms = {kind: of for kind, of in rms.items() if not any(np.isnan(v) for v in of.values())}
    if not rms:
        return "No map has a number for every student, so they cannot be compared."
    closest = ", ".join(f"{min(of, key=of.get)} in {CALLED[kind]}" for kind, of in rms.items())
    students = name_by_method(tables)
    parts = [f"Closest to the teacher: {closest}. One student each: another seed is another one."]
    if {"dkd", "kd"} <= students.keys():
        parts.insert(0, _against(rms, students["dkd"], students["kd"]))
    chancy = [CALLED[kind] for kind in rms if not any(beyond(t, kind) for t in tables.values())]
    if chancy:
        parts.append(f"No student departs beyond chance in {', '.join(chancy)}.")
    return " ".join(parts)


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


def _counting(table: pd.DataFrame, kind: str) -> np.ndarray:
    """Which cells of a map enter its number."""
    cells = np.isfinite(matrix(table, kind))
    if kind == "correlation":
        return cells & ~np.eye(len(cells), dtype=bool)
    known = np.isfinite(matrix(table, f"{kind}_se"))
    return cells & known if known.any() else cells


def _root_mean_square(cells: np.ndarray) -> float:
    return float(np.sqrt((cells**2).mean())) if cells.size else np.nan


def _given(table: pd.DataFrame) -> str:
    by = table.given_by.iloc[0]
    return "In images of a class" if by == "target" else "Where the teacher sees a class"


def _signed(value: float) -> str:
    return f"{abs(value):.2g} {'more' if value > 0 else 'less'}"
