"""The ladder in words: whether every stone is a step from the student to its teacher."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.evidence import SEEN, UNSEEN, Interval, Z, difference_of_shares, weakest
from kdanalysis.analyzers.noun import Reading, last_epoch
from kdanalysis.analyzers.stones.ladder import LadderProfile, LadderTraining, said
from kdanalysis.draw.look import require


@LadderProfile.reads()
@LadderTraining.reads()
def ladder_reading(table: pd.DataFrame) -> Reading:
    """Whether the stones lie between teacher and student, one after the other.

    In the last epoch, where there are several, with 95 % intervals: those of divergences from
    differences sample by sample, that of accuracies as of independent samples. The number is
    accuracy and divergence from the teacher, side by side.
    """
    columns = ("side", "accuracy", "divergence_teacher", "temperature", "n")
    require(table, *columns, number="divergence_teacher")
    rows = last_epoch(table)
    number = "; ".join(
        f"{said(row.side)} "
        + ("" if pd.isna(row.accuracy) else f"{row.accuracy:.1%} right, ")
        + f"{row.divergence_teacher:.3g} nats from the teacher"
        for row in rows.itertuples()
    )
    stones = rows[rows.side.str.startswith("stone")]
    student = rows[rows.side == "student"].iloc[0]
    if stones.empty:
        return Reading("There are no stones between teacher and student.", number)
    claim = _order(rows[rows.side.isin([*stones.side, "student"])])
    if stones.accuracy.isna().all():
        return Reading(f"{claim}.", number)
    best = stones.loc[stones.accuracy.idxmax()]
    ahead = difference_of_shares(
        best.accuracy,
        best.get("labelled", best.n),
        student.accuracy,
        student.get("labelled", student.n),
    )
    told = (
        f"{claim}; that {said(best.side)}, the most accurate stone, is right more often than the "
        f"student {ahead.claim}: {best.accuracy:.0%} against {student.accuracy:.0%}, "
        f"{ahead.points()}."
    )
    return Reading(told, number)


def _order(path: pd.DataFrame) -> str:
    """Say whether every side of the path is nearer to the teacher than the next one."""
    away = path.divergence_teacher.to_numpy()
    steps = intervals(path, away[1:] - away[:-1], "step_se")
    nearer = intervals(path, away[-1] - away[:-1], "nearer_se")
    least, names = weakest(steps), [said(side) for side in path.side[:-1]]
    at = f"at T = {path.temperature.iloc[0]:g}"
    if len(names) == 1:
        return (
            f"That the one stone, {names[0]}, is nearer to the teacher than the student "
            f"{least.claim}: by {least.text('.3g', unit=' nats')} {at}"
        )
    following = [*names[1:], "the student"]
    told = ", ".join(
        f"{one.text('+.3g')} from {here} to {there}"
        for one, here, there in zip(steps, names, following, strict=True)
    )
    claim = (
        f"That every stone is nearer to the teacher than the next side {least.claim}: the "
        f"divergence changes by {told} (nats {at})"
    )
    if least.verdict != UNSEEN:
        return claim
    found = [n for n, one in zip(names, nearer, strict=True) if one.verdict == SEEN]
    those = f" ({', '.join(found)})" if found else ""
    return f"{claim}; nearer than the student are {len(found)} of {len(names)}{those}"


def intervals(path: pd.DataFrame, more: np.ndarray, error: str) -> list[Interval]:
    """Differences of divergences along a path with their intervals; half NaN where none is known.

    Tables of earlier trainings have no standard errors.
    """
    known = path[error] if error in path else pd.Series(np.nan, path.index)
    return [Interval(float(m), Z * float(e)) for m, e in zip(more, known[:-1], strict=True)]
