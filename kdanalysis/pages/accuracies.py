"""How often teachers and students are right, and whether students differ by more than chance."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from kdanalysis.analyzers.evidence import SEEN, Interval, Z, difference_of_shares, share_of, wilson
from kdanalysis.analyzers.student_t import for_all
from kdanalysis.analyzers.students.agreement import NONE_FINITE, at_the_end
from kdanalysis.core.wording import percent_range
from kdanalysis.draw.colours import FAINT, TEACHER, loss_colours
from kdanalysis.draw.look import Axes, new_axes, styled
from kdanalysis.draw.names import short
from kdanalysis.draw.tables import require

Tables = Mapping[str, pd.DataFrame]
NOT_THE_SAME = "their samples are not the same, and may be easier in one than in the other"


def accuracies_at_the_end(tables: Tables) -> pd.DataFrame:
    """Return columns network, accuracy, n, teacher of students and teachers; of ``Agreement``.

    One teacher that is right as often everywhere is named so; of others, or of one over samples
    that are not the same, those that are right least and most often stand for all.
    """
    last = {run or "student": at_the_end(table) for run, table in tables.items()}
    taught: dict[float, tuple[str, int]] = {}
    for run, one in last.items():
        taught.setdefault(one.teacher_accuracy, (f"teacher of {run}", one.labelled))
    if len(taught) == 1:
        taught = {share: ("teacher", n) for share, (_, n) in taught.items()}
    ends = sorted({min(taught), max(taught)}) if taught else []
    rows = [(taught[share][0], share, taught[share][1], True) for share in ends]
    rows += [(run, one.student_accuracy, one.labelled, False) for run, one in last.items()]
    return pd.DataFrame(rows, columns=["network", "accuracy", "n", "teacher"]).dropna()


def teachers_in(frame: pd.DataFrame) -> np.ndarray:
    """Return which rows are a teacher's: the first, where no column says so."""
    said = frame["teacher"] if "teacher" in frame else np.arange(len(frame)) == 0
    return np.asarray(said, dtype=bool)


def where_of(tables: Tables) -> str:
    """Say over which samples :func:`accuracies_at_the_end` are, of tables of ``Agreement``."""
    found = {at_the_end(table).when for table in tables.values()}
    if len(found) > 1:
        diverged = any(NONE_FINITE in when for when in found)
        return "over the captured samples of the last epoch" + " with finite logits" * diverged
    (when,) = found
    return when[0].lower() + when[1:]


def accuracy_line(frame: pd.DataFrame, where: str, errors: pd.DataFrame | None = None) -> str:
    """Say how often each network is right, and whether the students differ by more than chance.

    Args:
        frame: columns network, accuracy, n and, of several teachers, teacher; else the first row is
            the teacher's.
        where: over which samples.
        errors: standard errors of the differences of students over the same samples, by name; as of
            independent samples if None.
    """
    told = [f"{row.network} {share_of(row.accuracy, row.n)}" for row in frame.itertuples()]
    line = f"Accuracy {where} (95 % intervals): {', '.join(told)}."
    taught = teachers_in(frame)
    students = frame[~taught]
    if len(students) < 2:
        return line
    best, least = (students.loc[students.accuracy.agg(f)] for f in ("idxmax", "idxmin"))
    gap = best.accuracy - least.accuracy
    if gap == 0:
        return f"{line} No student is right more often than another."
    lead = difference_of_shares(best.accuracy, best.n, least.accuracy, least.n)
    how = "as of independent samples"
    if errors is not None:
        lead = Interval(gap, Z * errors.loc[best.network, least.network])
        how = "sample by sample"
    pairs = len(students) * (len(students) - 1) // 2
    lead, how = lead.chosen_of(pairs), how + for_all(lead.half, pairs, "pairs")
    seen = "more than chance over samples" if lead.verdict == SEEN else "within chance"
    if taught.sum() > 1 and errors is None:
        seen += f"; {NOT_THE_SAME}"
    return (
        f"{line} {best.network} leads {least.network} by {lead.text('z.1f', 100, ' points')} "
        f"({how}), {seen}; one seed each says nothing of another training."
    )


def several_teachers(frame: pd.DataFrame) -> str:
    """Return the end of a sentence on students of other teachers, or samples; "" of one teacher.

    Args:
        frame: a row a student; teacher_accuracy where there are labels.
    """
    shares = frame["teacher_accuracy"].dropna() if "teacher_accuracy" in frame else []
    if len({*shares}) < 2:
        return ""
    span = percent_range(min(shares), max(shares))
    return f"; teacher or samples are not the same for all: the teacher is right on {span}"


@styled
def accuracy_of_networks(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """One dot a network with the line of its 95 % interval over samples.

    Args:
        table: columns network, accuracy, n and, of several teachers, teacher; else the first row is
            the teacher's.
        ax: axes to draw on; a figure of its own if None.
    """
    require(table, "network", "accuracy", "n", number="accuracy")
    ax = ax or new_axes(5.2, 1.1 + 0.34 * len(table))
    taught = teachers_in(table)
    colours = loss_colours(table.network[~taught])
    for place, row in enumerate(table.itertuples()):
        colour = TEACHER if taught[place] else colours[row.network]
        low, high = wilson(row.accuracy, row.n)
        ax.plot([100 * low, 100 * high], [place] * 2, color=colour, linewidth=2.5)
        ax.plot(100 * row.accuracy, place, marker="o", markersize=7, color=colour)
    names = [short(name, 24, table.network) for name in table.network]
    ax.set_yticks(range(len(table)), labels=names, parse_math=False)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.grid(axis="x", color=FAINT, linewidth=0.5)
    ax.set_xlabel("accuracy (%), 95 % interval over samples")
    return ax
