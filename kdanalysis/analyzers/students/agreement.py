"""How good a student is, and how often it says what its teacher says, over training."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Labels
from kdanalysis.analyzers.by_step import ByStep
from kdanalysis.analyzers.ends import with_share_ends
from kdanalysis.analyzers.evidence import Interval, Z, difference_of_shares
from kdanalysis.analyzers.noun import Reading
from kdanalysis.core.streams import check_batch, top_of_finite
from kdanalysis.core.wording import percent
from kdanalysis.draw.axes import time_axis
from kdanalysis.draw.colours import DASHES, STUDENT, TEACHER
from kdanalysis.draw.look import PAGE, Axes, Figure, new_axes, side_legend
from kdanalysis.draw.runs import coarse, lines_by_run, step_label
from kdanalysis.draw.tables import require, state_left_out

QUANTITIES = {
    "agreement": ("agrees with its teacher", STUDENT, DASHES[1]),
    "student_accuracy": ("student right", STUDENT, DASHES[0]),
    "teacher_accuracy": ("teacher right", TEACHER, DASHES[0]),
}
NONE_FINITE = "none is finite after step"
SAID = {name: name if name == "agreement" else label for name, (label, *_) in QUANTITIES.items()}


class Agreement(ByStep):
    """Shares of samples by captured step, of the samples as they were captured.

    - ``agreement``: student and teacher have their largest logit at the same class.
    - ``student_accuracy``, ``teacher_accuracy``: it is the label's class.

    Equal largest logits count as the one of the smallest index. A training's captured batches are
    training images, possibly augmented: these are not validation accuracies.
    """

    noun, title = "agreement", "Agreement with the teacher"
    needs = ("student_logits", "teacher_logits")
    takes = ("target", "step", "epoch")
    made_for = ("steps",)
    counting = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Counts by step."""
        names = ("agreed", "student_right", "teacher_right", "labelled", "n")
        return dict.fromkeys(names, (len(self.steps),))

    def analysed(self, given: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Return of the finite rows the classes of both sides, the label and the place of the step.

        Raises:
            ValueError: as ``ByStep``.
        """
        student, teacher, target, step, epoch = given.values()
        check_batch(teacher, student, target)
        place = self.place(step, epoch, teacher)
        (student, finite), (teacher, too) = top_of_finite(student), top_of_finite(teacher)
        kept = finite & too
        self.accumulate(non_finite=(~kept).sum())
        found = {"student": student, "teacher": teacher, "target": target, "place": place}
        return {name: None if x is None else x[kept] for name, x in found.items()}

    def add(self, student: Labels, teacher: Labels, target: Labels | None, place: Labels) -> None:
        """Add the classes that both sides have first, with the places of their steps."""
        found = {"n": torch.ones_like(student), "agreed": student == teacher}
        if target is not None:
            right = {"student_right": student == target, "teacher_right": teacher == target}
            found |= {"labelled": found["n"], **right}
        self.add_rows(place, **found)

    def measures(self) -> dict[str, Tensor]:
        """The three shares, the labelled rows and n by step. NaN where no sample counts."""
        return {
            "agreement": self.agreed / self.n,
            "student_accuracy": self.student_right / self.labelled,
            "teacher_accuracy": self.teacher_right / self.labelled,
            "labelled": self.labelled.clone(),
            "n": self.n.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, agreement, student_accuracy, teacher_accuracy, n, non_finite.

        Where rows lack a label ``labelled`` before n says how many the accuracies are over.
        """
        frame = self.step_frame([()], [])
        labelled = frame.pop("labelled").astype("int64")
        if (labelled < frame.n).any():
            frame.insert(frame.columns.get_loc("n"), "labelled", labelled)
        return frame


@Agreement.reads()
def agreement_reading(table: pd.DataFrame) -> Reading:
    """How often the student repeats its teacher at the end, and which of the two is right."""
    last = at_the_end(table)
    known = [(said, last[name]) for name, said in SAID.items() if not np.isnan(last[name])]
    number = ", ".join(f"{said} {percent(share)}" for said, share in known)
    agrees = f"on {percent(last.agreement)} of samples"
    claim = f"{last.when} the student says what its teacher says {agrees}"
    if np.isnan(last.student_accuracy):
        return Reading(f"{claim}; without labels nothing is known of who is right.", number)
    student, teacher = last.student_accuracy, last.teacher_accuracy
    behind = ahead_of_student(last)
    return Reading(
        f"{claim}, and is right on {percent(student)} where the teacher is on "
        f"{percent(teacher)}; that it is behind {behind.claim}: {behind.negated.points()}.",
        number,
    )


def at_the_end(table: pd.DataFrame) -> pd.Series:
    """Shares over the samples of the last epoch, or of the last step where epochs are unknown.

    ``when`` says which it is; where there is one step or epoch alone, it is all samples. Later
    steps without a finite sample, as of a student that diverged, are told by it too.
    ``labelled`` are those that the accuracies are over; they are NaN where there is none.
    """
    require(table, "step", "epoch", "n", *QUANTITIES, number="agreement")
    epochs, end, table = table.epoch.nunique(), table.step.max(), table[table.n > 0]
    diverged = table.step.max() < end
    last, when = table[table.step == table.step.max()], "at the last captured step"
    if diverged:
        when = f"at step {table.step.max():,}"
    if len(table) == 1:
        when = "over all samples"
    elif table.epoch.notna().all():
        last = table[table.epoch == table.epoch.max()]
        of_one = f"over the captured samples of epoch {last.epoch.iloc[0]}"
        when = of_one if epochs > 1 else "over all samples"
    if diverged:
        when = f"{when} ({NONE_FINITE} {table.step.max():,})"
    rows = last.assign(agreement_n=last.n, accuracy_n=last.get("labelled", last.n))
    means = {q: _mean(rows[q], rows[f"{q.split('_')[-1]}_n"]) for q in QUANTITIES}
    counts = {"n": int(last.n.sum()), "labelled": int(rows.accuracy_n.sum())}
    return pd.Series({"when": when.capitalize(), **counts, **means})


def ahead_of_student(last: pd.Series) -> Interval:
    """How much more often the teacher is right than its student, on the same samples.

    Of d, 1 where the teacher alone is right and -1 where the student alone is: both name one class
    in the others, so that var(d) is at most 1 - agreement - d^2. Two samples more are counted, one
    for either side (Bonett and Price, 2012), and the interval holds around the plain difference.
    That of other samples stands where it is narrower, or rows lack a label.
    """
    teacher, student = last.teacher_accuracy, last.student_accuracy
    apart = difference_of_shares(teacher, last.labelled, student, last.labelled)
    if last.labelled < last.n:
        return apart
    gap, n = teacher - student, last.n + 2
    middle, differ = gap * last.n / n, ((1 - last.agreement) * last.n + 2) / n
    half = Z * np.sqrt((differ - middle**2) / n) + abs(gap - middle)
    return Interval(gap, float(min(half, apart.half)))


def _mean(shares: pd.Series, rows: pd.Series) -> float:
    """Mean of shares that are each over so many rows; NaN where there is none."""
    known = rows > 0
    return np.average(shares[known], weights=rows[known]) if known.any() else np.nan


@Agreement.picture("Agreement and accuracy on the captured samples")
def agreement_over_training(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Shares of samples on which the student agrees with its teacher, and on which each is right.

    Takes a table of ``Agreement``.
    """
    require(table, "step", "n", *QUANTITIES, number="agreement")
    ax = ax or new_axes(PAGE, 3.2)
    together = 1
    for name, (label, colour, dash) in QUANTITIES.items():
        if table[name].isna().all():
            continue
        rows, together = coarse(table.assign(run="", quantity=name), name, "quantity")
        marker = "o" if len(rows) < 40 else None
        ax.plot(
            rows.step, 100 * rows[name], label=label, color=colour, linestyle=dash, marker=marker
        )
    ax.set_ylim(0, None)
    time_axis(ax, table.step)
    ax.set_xlabel(step_label(together) + state_left_out(table))
    ax.set_ylabel("share of samples (%)")
    side_legend(ax)
    return ax


def agreement_by_run(table: pd.DataFrame) -> Figure:
    """Agreement and accuracies of every run, in percent; of ``Agreement`` with a column run."""
    require(table, "run", "step", "n", *QUANTITIES)
    known = [name for name in QUANTITIES if table[name].notna().any()]
    parts = [with_share_ends(table, name).assign(share=table[name], quantity=QUANTITIES[name][0])
             for name in known]  # fmt: skip
    rows = pd.concat(parts)
    rows = rows.assign(**{name: 100 * rows[name] for name in ("share", "low", "high")})
    return lines_by_run(rows, "share", "quantity", "share of samples (%)", limits=(0, None))
