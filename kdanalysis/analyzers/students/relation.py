"""Relations (figure 12): how alike student and teacher relate the non-top classes."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Labels, Logits
from kdanalysis.analyzers.by_step import ByStep, deviation, spread_over_samples
from kdanalysis.analyzers.chunks import chunks, in_parallel
from kdanalysis.analyzers.evidence import Interval, wide
from kdanalysis.analyzers.noun import Reading, Tables
from kdanalysis.analyzers.students.seeds import (
    ALONE,
    EFFECTS,
    above_base,
    base_of,
    by_seed,
    paired,
    verdicts_told,
    what_intervals_are_over,
)
from kdanalysis.core.association import MEASURES, associations
from kdanalysis.core.bins import Bins
from kdanalysis.core.largest import top
from kdanalysis.core.partition import Target, Top1, TopK
from kdanalysis.core.wording import written
from kdanalysis.draw.tables import require

BINS = Bins(-1.0, 1.0, 200)  # quartiles are good to 0.01
ENTRIES = 100_000  # logits of a chunk: its arrays stay in the cache
COURSE = 4  # fewer epochs than this show no course: the steps do


class NonTopRelation(ByStep):
    """Association of the student's and the teacher's logits over the non-top classes, by step.

    The measures of ``kdanalysis.core.association``, per sample: Spearman's rank correlation,
    Kendall's tau-b, the cosine of the logits centred over the non-top classes, and the share of
    pairs of non-top classes that both sides order the same way, among the pairs that neither side
    ties. None depends on the temperature. Logits tie where their stored values are equal. The
    classes left out are, by notion: the target; the teacher's top-1; its top-k. A notion called
    "top-5" looks at all but the teacher's top 5.

    A sample whose remaining logits are all equal on a side, or of which fewer than two remain,
    has no relation under that notion: it is counted in ``no_relation`` and left out.

    The mean and the standard deviation over samples are exact. The quartiles come from 200 bins
    on [-1, 1]: each is within 0.01 of the sample's own.

    1000 samples of 1000 classes, all notions and measures, were measured at 0.2 s on one core.

    Args:
        k: size of the top-k that is left out, below the number of classes.
        steps: every captured step; a single one for logits that come from no training.
    """

    noun, title = "relation", "Relations among the non-top classes"
    needs = ("student_logits", "teacher_logits")
    takes = ("target", "step", "epoch")
    made_for = ("k", "steps")

    def __init__(self, k: int = 5, steps: Sequence[int] = (0,)) -> None:
        super().__init__(steps, k=k)
        self.notions = {"target": Target(), "top-1": Top1(), f"top-{k}": TopK(k)}
        shape = len(self.steps), len(self.notions)
        self.add_sum("no_relation", *shape)
        for state in ("total", "squares"):
            self.add_sum(state, *shape, len(MEASURES))
        self.add_sum("counts", *shape, len(MEASURES), BINS.size)

    def add(self, student: Logits, teacher: Logits, target: Labels | None, place: Labels) -> None:
        """Add the finite samples of a batch; without targets nothing under the notion "target".

        Raises:
            ValueError: k of all classes.
        """
        label = top(teacher) if target is None else target
        rules = list(self.notions.values())[target is None :]  # the first is that of the target

        def look(chunk: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            student, teacher, label, _ = chunk
            among = torch.stack([rule(teacher, label) == 1 for rule in rules])
            return associations(student, teacher, among)

        parts = chunks(student, teacher, label, place, entries=ENTRIES) if len(label) else []
        for found, (*_, rows) in zip(in_parallel(look, parts, teacher.device), parts, strict=True):
            for notion, one in enumerate(zip(*found, strict=True), start=target is None):
                self._count(notion, *one, rows)

    def _count(self, notion: int, values: Tensor, defined: Tensor, place: Tensor) -> None:
        """Add rows under one notion to the sums of their steps."""
        values, there = values[defined], place[defined]
        self.no_relation[:, notion].index_add_(0, place, (~defined).double())
        self.total[:, notion].index_add_(0, there, values)
        self.squares[:, notion].index_add_(0, there, values.square())
        measure = torch.arange(len(MEASURES), device=place.device)
        cell = there.unsqueeze(-1), torch.full_like(measure, notion), measure, BINS.index(values)
        self.counts.index_put_(cell, torch.ones_like(values), accumulate=True)

    def measures(self) -> dict[str, Tensor]:
        """Mean, standard deviation, quartiles and n by (step, notion, measure); NaN without n.

        Beside them no_relation by (step, notion).
        """
        n = self.counts.sum(-1)
        return {
            "mean": self.total / n,
            "std": deviation(self.total, self.squares, n),
            **BINS.quartiles(self.counts),
            "n": n,
            "no_relation": self.no_relation.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, notion, measure, mean, std, q25, median, q75, n, and those left out.

        One row a (step, notion, measure). ``std`` is the standard deviation over the n samples
        (divided by n - 1). Left out are ``no_relation`` and ``non_finite`` samples.
        """
        names = [(notion, measure) for notion in self.notions for measure in MEASURES]
        return self.step_frame(names, ["notion", "measure"])


@NonTopRelation.reads()
def relation_reading(table: pd.DataFrame) -> Reading:
    """How much of the teacher's order the student has, and whether it grew.

    The number is Kendall's tau-b at the end, all but the target / the top-1 / the top-k.
    """
    end, time = at_end(table), time_of(table)
    notions = list(end.index.get_level_values("notion").unique())
    taus = " / ".join(written(v, ".3f") for v in end["mean"].xs("kendall", level="measure"))
    last, notion = table[table.n > 0].iloc[-1], notions[-1]
    of = _last_of(table)
    when = _named(of, last) if table[of].nunique() > 1 else "over all samples"
    number = f"{when}, without {' / '.join(notions)}: tau-b {taus}"
    row = end.loc[(notion, "kendall")]
    claim = (
        f"outside the teacher's {notion} student and teacher order the classes with a tau-b of "
        f"{interval(row)}"
    )
    course = pooled(table, time).query("measure == 'kendall' and notion == @notion")
    if len(course) < 2:
        return Reading(f"{claim[0].upper()}{claim[1:]}.", number)
    first = course.iloc[0]
    seen = _interval(row).less(_interval(first)).verdict
    told = f"The student takes over the teacher's non-top relations: {seen}; {claim} {when}"
    return Reading(f"{told}, against {interval(first)} {_named(time, first)}.", number)


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
    """Mean, interval (low, high) and n by notion and measure, over the last epoch (else step)."""
    time_of(table)
    time, seen = _last_of(table), table[table.n > 0]
    last = seen[seen[time] == seen[time].max()]
    return pooled(last, time).set_index(["notion", "measure"])


def pooled(table: pd.DataFrame, time: str) -> pd.DataFrame:
    """Columns time, notion, measure, mean, low, high, n: all samples of an epoch or step together.

    ``low`` to ``high`` is the 95 % interval of the mean; NaN for a single sample.
    """
    rows = spread_over_samples(table[table.n > 0], [time, "notion", "measure"])
    half = rows.n.map(wide) * rows["std"] / rows.n**0.5
    return rows.assign(low=rows["mean"] - half, high=rows["mean"] + half).reset_index()


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
def methods_reading(tables: Tables) -> Reading:
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
    claims = verdicts_told(above_base(known), "+.3f")
    told = f"Tau-b outside the teacher's {notion} above {base_of(students)}'s: {claims}."
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


def shared_notions(tables: Tables) -> list[str]:
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
