"""Relations among the non-top logits in words: over training, and one method against another."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.students.method import METHODS, name_by_method
from kdanalysis.analyzers.students.relation import NonTopRelation
from kdanalysis.core.association import MEASURES
from kdanalysis.draw.look import require

Z = 1.96  # standard errors to either side of a 95 % interval
COURSE = 4  # fewer epochs than this show no course: the steps do


@NonTopRelation.reads()
def relation_reading(table: pd.DataFrame) -> Reading:
    """How much of the teacher's order the student has, and whether it grew.

    The number is every measure at the end, all but the target / the top-1 / the top-k.
    """
    end, time = at_end(table), time_of(table)
    notions = list(end.index.get_level_values("notion").unique())
    means = (
        f"{measure} " + " / ".join(f"{v:.3f}" for v in end["mean"].xs(measure, level="measure"))
        for measure in MEASURES
    )
    seen = table[table.n > 0]
    when, notion = _named(_last_of(table), seen.iloc[-1]), seen.notion.unique()[-1]
    number = f"{when}, without {' / '.join(notions)}: {', '.join(means)}"
    row, order = end.loc[(notion, "kendall")], end.loc[(notion, "order")]
    claim = (
        f"outside the teacher's {notion} the student orders {order['mean']:.1%} of the pairs of "
        f"classes as its teacher does (tau-b {interval(row)})"
    )
    course = pooled(table, time).query("measure == 'kendall' and notion == @notion")
    if len(course) < 2:
        return Reading(f"{claim[0].upper()}{claim[1:]}.", number)
    first = course.iloc[0]
    told = "These data do not show the student take over the non-top relations"
    if row.low > first.high:
        told = "The student takes over the teacher's non-top relations"
    before = f"{when}, against {interval(first)} {_named(time, first)}"
    return Reading(f"{told}: {claim} {before}.", number)


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
    return f"{row['mean']:.3f} ± {row.high - row['mean']:.3f}"


def _last_of(table: pd.DataFrame) -> str:
    return "epoch" if table.epoch.notna().all() else "step"


def _named(time: str, row: pd.Series) -> str:
    return f"{'in' if time == 'epoch' else 'at'} {time} {row[time]:,}"


@NonTopRelation.reads(of_all=True)
def methods_reading(tables: Mapping[str, pd.DataFrame]) -> Reading:
    """Whether GDKD is above DKD and DKD above KD in these data.

    One student is above another where their intervals are apart. The claim is checked for every
    notion and measure, and the numbers given are Kendall's tau-b outside the last notion that all
    tables have. Students whose names do not tell KD, DKD and GDKD apart are ranked.
    """
    notions = shared_notions(tables)
    ends = {name: at_end(table) for name, table in tables.items()}
    rows = {name: end.loc[(notions[-1], "kendall")] for name, end in ends.items()}
    said = {name: f"{name} {interval(row)}" for name, row in rows.items()}
    number = f"tau-b without {notions[-1]}: {', '.join(said.values())}"
    students = name_by_method(tables)
    if len(students) < 2:
        highest = sorted(rows, key=lambda name: -rows[name]["mean"])
        listed = ", ".join(said[name] for name in highest)
        return Reading(f"Tau-b without {notions[-1]}, highest first: {listed}.", number)
    ranked = list(students.values())
    cells = [(notion, measure) for notion in notions for measure in MEASURES]
    held = [_in_order([ends[name].loc[cell] for name in ranked]) for cell in cells]
    sentence = (
        f"{_how_often(students, held)}. Tau-b without {notions[-1]}: "
        f"{', '.join(said[name] for name in ranked)}; "
        f"{_pair_claims(ranked, [rows[name] for name in ranked])}. The 95 % intervals are over "
        f"samples, of one student each: they do not say what another training would give."
    )
    return Reading(sentence, number)


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


def _in_order(rows: Sequence[pd.Series]) -> bool:
    return all(a.low > b.high for a, b in pairwise(rows))


def _how_often(students: Mapping[str, str], held: Sequence[bool]) -> str:
    claim = " > ".join(method.upper() for method in students)
    absent = " and ".join(method.upper() for method in METHODS if method not in students)
    missing = f" ({absent} left out: not exactly one student)" if absent else ""
    holds, some = ("holds", sum(held)) if any(held) else ("does not hold", "none")
    return (
        f"{claim} {holds} in these data{missing}, in {some} of {len(held)} combinations of "
        f"classes left out and measure"
    )


def _pair_claims(names: Sequence[str], rows: Sequence[pd.Series]) -> str:
    claims = []
    for (name, a), (other, b) in pairwise(zip(names, rows, strict=True)):
        word = "above" if a.low > b.high else "below" if a.high < b.low else "not apart from"
        claims.append(f"{name} is {word} {other}")
    return ", ".join(claims)
