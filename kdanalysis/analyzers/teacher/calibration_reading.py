"""Calibration in words: at which T a network is calibrated, with 95 % intervals."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.evidence import UNTESTED, Interval
from kdanalysis.analyzers.noun import Reading, Tables
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.teacher.calibration import (
    ABOVE,
    Calibration,
    by_network,
    join_networks,
    least,
    one_network,
)
from kdanalysis.core.wording import numeral, percents

FEW = 10  # samples: of fewer the bins' numbers have no interval


@Calibration.reads()
def calibration_reading(table: pd.DataFrame) -> Reading:
    """Where NLL and ECE are least, and what they are at the T of the losses.

    With 95 % intervals over samples: of a difference of NLL sample by sample. Even a calibrated
    network has an ECE above 0 on few samples.
    """
    scores, distilled = one_network(table), float(table.distilled.iloc[0])
    found = {score: least(scores, score) for score in ("nll", "ece")}
    there = [t for t in dict.fromkeys((1.0, distilled)) if t in scores.index]
    number = "; ".join(
        f"{score.upper()} least at {one.at}: {one.value:.3f}"
        + "".join(f", {scores[score][t]:.3f} at T = {t:g}" for t in there)
        for score, one in found.items()
    )
    error, gap = bin_intervals(table[table.temperature == distilled])
    own, _ = bin_intervals(table[table.temperature == scores.ece.idxmin()])
    sure = "less" if gap.value < 0 else "more"
    seen = (gap.negated if sure == "less" else gap).claim
    confidence, accuracy = percents(scores.confidence[distilled], scores.accuracy[distilled])
    return Reading(
        f"NLL is least at {found['nll'].at}{_alike(scores)}, ECE at {found['ece'].at}. "
        f"{_higher(scores, distilled)}ECE is {own.text()} where it is least and {error.text()} at "
        f"the losses' T = {distilled:g}, where the mean confidence is {confidence} and the "
        f"accuracy {accuracy}: that the network is {sure} sure than right there {seen}, "
        f"{gap.points()}.",
        number,
    )


def above(scores: pd.DataFrame) -> list[Interval]:
    """NLL at every temperature of the ladder less that at its least; half NaN if not known."""
    errors = scores[ABOVE] if ABOVE in scores else pd.Series(np.nan, scores.index)
    more = scores.nll - scores.nll.min()
    reach = wide(scores.n.min()) if "n" in scores else np.nan
    return [Interval(float(m), reach * float(e)) for m, e in zip(more, errors, strict=True)]


def _alike(scores: pd.DataFrame) -> str:
    """The temperatures of the ladder at which NLL is not seen to be higher than at the least."""
    alike = [t for t, one in zip(scores.index, above(scores), strict=True) if not one.low > 0]
    if len(alike) < 2 or ABOVE not in scores:
        return ""
    return f" (not seen to be higher from {numeral(alike[0])} to {numeral(alike[-1])})"


def _higher(scores: pd.DataFrame, distilled: float) -> str:
    more = above(scores)[scores.index.get_loc(distilled)]
    if distilled == scores.nll.idxmin():
        return ""
    told = more.text("+.3f", unit=" nats")
    return f"That NLL is higher at the losses' T = {distilled:g} {more.claim}: {told}. "


def bin_intervals(rows: pd.DataFrame) -> tuple[Interval, Interval]:
    """ECE, and the mean confidence less the accuracy, with their intervals, from the bins of a T.

    The confidences within a bin of 1/15 count as one. The ECE's interval takes every bin's sign as
    it is. One sample more that is right and one that is wrong, both of the mean confidence, are
    counted in either: where all are alike they would have no width. NaN of fewer than ten samples.
    """
    rows = rows[rows["count"] > 0]
    share, n = rows["count"] / rows.n, float(rows.n.iloc[0])
    gap = rows.confidence - rows.accuracy
    squares = (share * (rows.accuracy * (1 - rows.accuracy) + gap**2)).sum()
    found = float((share * gap.abs()).sum()), float((share * gap).sum())
    sure = float((share * rows.confidence).sum())
    squares = (n * squares + sure**2 + (1 - sure) ** 2) / (n + 2)
    reach = wide(n) if n >= FEW else np.nan
    halves = []
    for x, sign in zip(found, (np.sign(found[1]), 1), strict=True):
        mean = (n * x + sign * (2 * sure - 1)) / (n + 2)
        halves.append(reach * np.sqrt((squares - mean**2) / (n + 1)) + abs(mean - x))
    return tuple(Interval(x, float(half)) for x, half in zip(found, halves, strict=True))


@Calibration.reads(of_all=True)
def networks_reading(tables: Tables) -> Reading:
    """The networks' ECE at T = 1 (or the nearest there is), least first, and the T of each."""
    networks = by_network(join_networks(tables))
    plain, errors, found = {}, {}, {}
    for name, scores in networks.items():
        ladder = scores.index.to_numpy(float)
        plain[name] = float(ladder[np.abs(np.log(ladder)).argmin()])
        errors[name], found[name] = float(scores.ece[plain[name]]), least(scores, "nll")
    number = "; ".join(
        f"{name}: ECE {errors[name]:.3f} at T = {plain[name]:g}, NLL least at {found[name].at}"
        for name in networks
    )
    listed = ", ".join(f"{name} {errors[name]:.3f}" for name in sorted(errors, key=errors.get))
    wanted = ", ".join(f"{one.at} for {name}" for name, one in found.items())
    silent = ", ".join(name for name in tables if name not in networks)
    missing = f" Without a finite sample: {silent}." if silent else ""
    first = next(iter(plain.values()))
    return Reading(
        f"Read at T = {first:g} the ECE is {listed}; whether other samples would put them in this "
        f"order {UNTESTED}. NLL is least at {wanted}.{missing}",
        number,
    )
