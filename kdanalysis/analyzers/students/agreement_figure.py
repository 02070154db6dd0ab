"""Figures of agreement: how often the student is right, and says what its teacher says."""

import numpy as np
import pandas as pd

from kdanalysis.draw.look import (
    BLUE,
    DASHES,
    GREY,
    ORANGE,
    PAGE,
    Axes,
    new_axes,
    require,
    side_legend,
    state_left_out,
    styled,
)
from kdanalysis.draw.runs import coarse, step_label

QUANTITIES = {
    "agreement": ("agrees with its teacher", ORANGE, DASHES[0]),
    "student_accuracy": ("student right", BLUE, DASHES[0]),
    "teacher_accuracy": ("teacher right", GREY, DASHES[1]),
}


@styled
def agreement_over_training(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Shares of samples on which the student agrees with its teacher, and on which each is right.

    Args:
        table: as ``Agreement.table`` gives it.
        ax: axes to draw on; a new figure when None.
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
    ax.set_xlabel(step_label(together) + state_left_out(table))
    ax.set_ylabel("share of samples (%)")
    side_legend(ax)
    return ax


def agreement_number(table: pd.DataFrame) -> str:
    """Agreement and accuracies at the end, in percent."""
    last = at_the_end(table)
    shares = [("agreement", "agreement"), ("student_accuracy", "student right")]
    shares += [("teacher_accuracy", "teacher right")]
    return ", ".join(
        f"{said} {last[name]:.1%}" for name, said in shares if not np.isnan(last[name])
    )


def agreement_sentence(table: pd.DataFrame) -> str:
    """What to read: how often the student repeats its teacher, and which of the two is right."""
    last = at_the_end(table)
    claim = f"{last.when} the student says what its teacher says on {last.agreement:.0%} of samples"
    if np.isnan(last.student_accuracy):
        return f"{claim}; without labels nothing is known of who is right."
    student, teacher = last.student_accuracy, last.teacher_accuracy
    order = "behind" if student < teacher else "not behind"
    return f"{claim}, and is right on {student:.0%}, {order} the teacher's {teacher:.0%}."


def at_the_end(table: pd.DataFrame) -> pd.Series:
    """Shares over the samples of the last epoch, or of the last step where epochs are unknown.

    ``when`` says which it is; where there is one step alone, it is all samples.
    """
    require(table, "step", "epoch", "n", *QUANTITIES, number="agreement")
    last, when = table[table.step == table.step.max()], "at the last captured step"
    if len(table) == 1:
        when = "over all samples"
    elif table.epoch.notna().all():
        last = table[table.epoch == table.epoch.max()]
        when = f"over the captured samples of epoch {last.epoch.iloc[0]}"
    known = last[last.n > 0]
    means = {name: np.average(known[name], weights=known.n) for name in QUANTITIES}
    return pd.Series({"when": when.capitalize(), "n": int(known.n.sum()), **means})
