"""Relations among the non-top logits in words: over training, and one method against another."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from kdanalysis.analyzers.evidence import Interval, Z
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.students.relation import NonTopRelation
from kdanalysis.analyzers.students.seeds import (
    ALONE,
    EFFECTS,
    above_base,
    base_of,
    by_seed,
    paired,
    what_intervals_are_over,
)
from kdanalysis.draw.look import require

COURSE = 4  # fewer epochs than this show no course: the steps do


@NonTopRelation.reads()
def relation_reading(table: pd.DataFrame) -> Reading:
    """How much of the teacher's order the student has, and whether it grew.

    The number is Kendall's tau-b at the end, all but the target / the top-1 / the top-k.
    """
    end, time = at_end(table), time_of(table)
    notions = list(end.index.get_level_values("notion").unique())
    taus = " / ".join(f"{v:.3f}" for v in end["mean"].xs("kendall", level="measure"))
    seen = table[table.n > 0]
    when, notion = _named(_last_of(table), seen.iloc[-1]), seen.notion.unique()[-1]
    number = f"{when}, without {' / '.join(notions)}: tau-b {taus}"
    row = end.loc[(notion, "kendall")]
    claim = (
        f"outside the teacher's {notion} their orders of the classes agree with a tau-b of "
        f"{interval(row)}"
    )
    course = pooled(table, time).query("measure == 'kendall' and notion == @notion")
    if len(course) < 2:
        return Reading(f"{claim[0].upper()}{claim[1:]}.", number)
    first = course.iloc[0]
    seen = _interval(row).less(_interval(first)).verdict
    told = f"The student takes over the teacher's non-top relations: {seen}"
    before = f"{when}, against {interval(first)} {_named(time, first)}"
    return Reading(f"{told}; {claim} {before}.", number)


def time_of(table: pd.DataFrame) -> str:
    """``epoch`` where the table has a course of them, else ``step``.

    Raises:
        ValueError: the table lacks a column, or no sample in it has a relation.
    """
    require(table, "step", "epoch", "notion", "measure", "mean", "std", "n")
    if table["mean"].isna().all():
        raise ValueError(
            "the table has no value of 'mean': all samples hold NaN or inf, leave fewer than two "
            "classes, or have equal logits on a side"
        )
    return "epoch" if table.epoch.notna().all() and table.epoch.nunique() >= COURSE else "step"


def at_end(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, interval (low, high) and n by notion and measure, over the last epoch.

    Over the last step where epochs are not known.
    """
    time_of(table)
    time, seen = _last_of(table), table[table.n > 0]
    last = seen[seen[time] == seen[time].max()]
    return pooled(last, time).set_index(["notion", "measure"])


def pooled(table: pd.DataFrame, time: str) -> pd.DataFrame:
    """Columns time, notion, measure, mean, low, high, n: all samples of an epoch or step together.

    ``low`` to ``high`` is the 95 % interval of the mean; NaN for a single sample.
    """
    rows = table[table.n > 0]
    total = rows["mean"] * rows.n
    spread = (rows["std"] ** 2 * (rows.n - 1)).fillna(0)  # of one sample: 0, not NaN
    sums = rows.assign(total=total, squares=spread + rows["mean"] * total)
    sums = sums.groupby([time, "notion", "measure"], sort=False)[["n", "total", "squares"]].sum()
    mean = sums.total / sums.n
    variance = (sums.squares - mean * sums.total).clip(lower=0) / (sums.n - 1).replace(0, np.nan)
    half = Z * (variance / sums.n) ** 0.5
    return sums.assign(mean=mean, low=mean - half, high=mean + half).reset_index()


def interval(row: pd.Series) -> str:
    """A mean with half of its interval, as it is read."""
    return _interval(row).text()


def _interval(row: pd.Series) -> Interval:
    return Interval(float(row["mean"]), float(row.high - row["mean"]))


def _last_of(table: pd.DataFrame) -> str:
    return "epoch" if table.epoch.notna().all() else "step"


def _named(time: str, row: pd.Series) -> str:
    return f"{'in' if time == 'epoch' else 'at'} {time} {row[time]:,}"


@NonTopRelation.reads(of_all=True)
def methods_reading(tables: Mapping[str, pd.DataFrame]) -> Reading:
    """How far the students' tau-b outside the last shared notion's classes lies from plain KD's.

    Tau-b alone, as the share of pairs in the same order is (tau-b + 1) / 2 where nothing ties.
    Students of several seeds are compared seed by seed, with intervals over seeds; of one student
    each, the interval is over samples and says nothing of another training. Where the losses of
    ``EFFECTS`` are there, what partition, weight and step do is told apart.
    """
    notion = shared_notions(tables)[-1]
    rows = {name: at_end(table).loc[(notion, "kendall")] for name, table in tables.items()}
    number = f"tau-b without {notion}: " + ", ".join(f"{n} {interval(r)}" for n, r in rows.items())
    students = by_seed(tables)
    if len(students) < 2:
        return Reading(ALONE, number)
    known = {name: _interval(row) for name, row in rows.items()}
    claims = [f"{loss} {found.text('+.3f')} ({found.verdict})"
              for loss, found in above_base(known).items()]  # fmt: skip
    told = f"Tau-b outside the teacher's {notion} above {base_of(students)}'s: {', '.join(claims)}."
    values = {name: one.value for name, one in known.items()}
    effects = [
        f"{name} {found.text('+.3f')} ({found.verdict})"
        for name, pairs in EFFECTS.items()
        if {loss for pair in pairs for loss in pair} <= set(students)
        for found in [paired(values, students, *pairs)]
    ]
    if effects:
        told += f" By what the losses differ in: {', '.join(effects)}."
    return Reading(f"{told} {what_intervals_are_over(tables)}", number)


def shared_notions(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Notions that every table has numbers of, in the order of the first.

    Raises:
        ValueError: there are none, or no tables.
    """
    if not tables:
        raise ValueError("need the table of at least one student, got none")
    found = []
    for table in tables.values():
        time_of(table)
        found.append(list(table.notion[table.n > 0].unique()))
    shared = [notion for notion in found[0] if all(notion in other for other in found)]
    if not shared:
        raise ValueError(f"the tables share no notion of non-top classes, they have {found}")
    return shared
