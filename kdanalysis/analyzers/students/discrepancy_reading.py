"""Class-mean discrepancy in words: one number a map, and which student is closer to its teacher."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdanalysis.analyzers.chance import ratio_bound
from kdanalysis.analyzers.evidence import (
    SEEN,
    UNSEEN,
    UNTESTED,
    Interval,
    ended,
    mean_of,
)
from kdanalysis.analyzers.noun import Names, Reading, Tables
from kdanalysis.analyzers.student_t import for_all, wide
from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.seeds import (
    ALONE,
    MANY,
    above_base,
    base_of,
    by_seed,
    of_many,
    what_intervals_are_over,
)
from kdanalysis.core.wording import numerals
from kdanalysis.draw.names import names_in, said
from kdanalysis.draw.tables import require

CALLED = {"logits": "centred logits", "probability": "softmax", "correlation": "correlation"}
SAMPLES = 10  # of a class: in fewer no widest gap is looked for


class Size(NamedTuple):
    """Root mean square of a map's cells (its Frobenius norm over c), and what chance makes of it.

    ``chance`` is the root mean square that the standard errors alone would make, ``bound`` what it
    stays below in 95 of 100; NaN where there are none, as of correlations. ``rows`` are the mean
    squares of each given class less those of chance, or the mean square alone.
    """

    rms: float
    chance: float
    bound: float
    rows: np.ndarray

    @property
    def verdict(self) -> str:
        """Whether more than chance is seen."""
        if np.isnan(self.bound):
            return UNTESTED
        return SEEN if self.rms > self.bound else UNSEEN

    def less(self, other: "Size") -> Interval:
        """How much larger its mean square is than another student's, over given classes."""
        rows = self.rows - other.rows
        return mean_of(rows[np.isfinite(rows)])

    def __str__(self) -> str:
        if np.isnan(self.rms):
            return "no value"
        rms, chance = numerals(self.rms, self.chance)
        return f"rms {rms}" + ("" if np.isnan(self.chance) else f" (chance {chance})")


def size(table: pd.DataFrame, kind: str) -> Size:
    """Size of a map: of means over the cells that have a standard error, all where none has one.

    Of correlations over all but the diagonal, which is 0. By chance the given classes are
    independent of each other; the cells of one count as if they rose and fell together, which
    makes the bound at most too high. Few samples tell their standard errors badly: the bound is
    that of a ratio of variances, with Satterthwaite's degrees of freedom.
    """
    cells = matrix(table, kind)
    if kind == "correlation":
        cells[np.eye(len(cells), dtype=bool)] = np.nan
    errors = np.full_like(cells, np.nan) if kind == "correlation" else matrix(table, f"{kind}_se")
    known = np.isfinite(errors) & np.isfinite(cells)
    if not known.any():
        rms = _root_mean_square(cells[np.isfinite(cells)])
        return Size(rms, np.nan, np.nan, np.array([rms**2]))
    rms, chance = (_root_mean_square(x[known]) for x in (cells, errors))
    found, noise = (np.where(known, x, 0.0) ** 2 for x in (cells, errors))
    squares = noise.sum(1)  # of every given class
    behind = matrix(table, "n")[:, 0] - 1
    spread = [(squares**2 / n).sum() for n in (1.0, np.maximum(behind, 1))]
    freedom, of_errors = squares.sum() ** 2 / spread if squares.any() else (1.0, 1.0)
    rows = np.where(known.any(1), (found - noise).sum(1), np.nan) / len(cells)
    return Size(rms, chance, chance * ratio_bound(freedom, of_errors) ** 0.5, rows)


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
        rows.append((called, *size(table, kind)[:2], cells.mean(), cells.max()))
    return pd.DataFrame(rows, columns=["map", "rms", "chance", "mean_abs", "largest_abs"])


@ClassDiscrepancy.reads(names=True)
def discrepancy_reading(table: pd.DataFrame, names: Names = None) -> Reading:
    """Whether the class means differ beyond chance, on the class itself, and where.

    The number is that of every map.
    """
    check_students({"": table})
    sizes = {kind: size(table, kind) for kind in CALLED}
    number = "; ".join(f"{CALLED[kind]}: {found}" for kind, found in sizes.items())
    found = sizes["logits"]
    rms, chance, bound = numerals(found.rms, found.chance, found.bound)
    claim = (
        f"That the student departs from its teacher by class {ended(found.verdict)}: class means "
        f"of the logits differ by {rms} (rms)"
    )
    if found.verdict == UNTESTED:
        return Reading(f"{claim}, and no class has two samples to tell what chance is.", number)
    claim += f", by chance by {chance} and below {bound} in 95 of 100."
    return Reading(f"{claim} {_itself(table)}{_widest(table, names)}", number)


def _itself(table: pd.DataFrame) -> str:
    """Say whether the student gives a class other logits in its own images, over classes."""
    own, errors = (np.diag(matrix(table, name)) for name in ("logits", "logits_se"))
    known = np.isfinite(errors)
    squares, behind = errors[known] ** 2, matrix(table, "n")[:, 0][known] - 1
    freedom = squares.sum() ** 2 / (squares**2 / behind).sum() if squares.any() else np.inf
    half = wide(1 + freedom) * float(np.sqrt(squares.sum())) / known.sum()
    gap = Interval(float(own[known].mean()), half)
    by_target = table.given_by.iloc[0] == "target"
    where = "In images of a class" if by_target else "Where the teacher sees a class"
    way, told = ("less", gap.negated) if gap.value < 0 else ("more", gap)
    return (
        f"{where}, {way} of that class than its teacher has {told.claim}: {gap.text('+z.2g')} on "
        f"average over classes."
    )


def _widest(table: pd.DataFrame, names: Names) -> str:
    """Say where the gap is widest, of classes with 10 samples, at a level that holds for all."""
    rows = table[table.logits_se.notna() & (table.n >= SAMPLES)]
    if rows.empty:
        return ""
    widest = rows.loc[rows.logits.abs().idxmax()]
    labels = names_in(table, names)
    given, other = (said(labels[int(widest[column])], 16) for column in ("given", "class"))
    gap = Interval(float(widest.logits), float(wide(widest.n, len(rows)) * widest.logits_se))
    return (
        f" The widest gap, for {other} given {given}, {Interval(abs(gap.value), gap.half).claim}: "
        f"{gap.text('+z.2g')}{for_all(gap.half, len(rows), 'gaps')}."
    )


@ClassDiscrepancy.reads(of_all=True)
def students_reading(tables: Tables) -> Reading:
    """In which maps students are closer to their teacher than plain KD's is; sizes by map.

    Than the first where there is no plain KD. What chance makes of a map is taken off; a map
    without chance, as of correlations, is compared over seeds alone.
    """
    check_students(tables)
    sizes = {kind: {name: size(t, kind) for name, t in tables.items()} for kind in CALLED}
    number = "; ".join(
        f"{CALLED[kind]}: " + ", ".join(f"{name} {found}" for name, found in of.items())
        for kind, of in sizes.items()
    )
    sizes = {k: of for k, of in sizes.items() if not any(np.isnan(x.rms) for x in of.values())}
    students = by_seed(tables)
    if not sizes:
        return Reading("No map has a number for every student, so they cannot be compared.", number)
    if len(students) < 2:
        return Reading(ALONE, number)
    losses = [loss for loss in students if loss != base_of(students)]
    tested = {kind: of for kind, of in sizes.items()
              if any(_verdict(of, loss) != UNTESTED for loss in losses)}  # fmt: skip
    claims = [f"{loss}: {_closer(tested or sizes, loss)}" for loss in losses]
    told = f"Closer to its teacher than {base_of(students)} is {'; '.join(claims)}."
    if len(losses) > MANY:
        counts = (f"in {CALLED[kind]} {of_many(_verdict(of, loss) for loss in losses)}"
                  for kind, of in (tested or sizes).items())  # fmt: skip
        told = f"Closer to the teacher than {base_of(students)} are others: {'; '.join(counts)}."
    for kind in [kind for kind in sizes if tested and kind not in tested]:
        found = numerals(*(x.rms for x in sizes[kind].values()))
        each = ", ".join(map(" ".join, zip(sizes[kind], found, strict=True)))
        if len(losses) > MANY:
            least, most = (end(x.rms for x in sizes[kind].values()) for end in (min, max))
            each = " to ".join(numerals(least, most))
        told += f" Not to be compared by one student each: {CALLED[kind]} (rms {each})."
    chancy = [CALLED[kind] for kind, of in sizes.items()
              if all(x.verdict == UNSEEN for x in of.values())]  # fmt: skip
    if chancy:
        told += f" That a student departs at all is not seen in {', '.join(chancy)}."
    return Reading(f"{told} {what_intervals_are_over(tables)}", number)


def _closer(sizes: Mapping[str, Mapping[str, Size]], loss: str) -> str:
    """In which maps a loss's students are closer to their teacher than the base's, by verdict."""
    told: dict[str, list[str]] = {}
    for kind, of in sizes.items():
        students = by_seed(of)
        ours, base = (
            np.mean([of[name].rms for name in students[one].values()])
            for one in (loss, base_of(students))
        )
        text = f"{CALLED[kind]} ({' against '.join(numerals(ours, base))})"
        told.setdefault(_verdict(of, loss), []).append(text)
    return ", ".join(f"{verdict} in {', '.join(texts)}" for verdict, texts in told.items())


def _verdict(of: Mapping[str, Size], loss: str) -> str:
    """Whether a loss's students are closer to their teacher in one map than the base's."""
    known = {name: Interval(-(x.rms**2), np.nan) for name, x in of.items()}
    return above_base(known, lambda a, b: of[b].less(of[a]))[loss].verdict


def check_students(tables: Tables) -> int:
    """Return the number of classes that all tables share.

    Raises:
        ValueError: there are no tables, one holds no value, or they have different classes.
    """
    if not tables:
        raise ValueError("need the table of at least one student, got none")
    for table in tables.values():
        require(table, "given", "class", "given_by", "logits_se", "n", number="logits")
    found = {int(table["class"].max()) + 1 for table in tables.values()}
    if len(found) > 1:
        raise ValueError(f"the tables have {sorted(found)} classes, need the same in all of them")
    return found.pop()
