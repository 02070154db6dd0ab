"""What a run says of the gradient that was sent: how much of each term arrived, first and last.

Nothing here loads torch: ``kdanalysis info`` answers at once.
"""

import re
from typing import Any

import numpy as np

from kdanalysis.core.wording import numeral

NEAR = 0.02  # what half precision and rounding may move
NOUGHT = 1e-6  # what rounding leaves of float32
ENDS = 5  # captured steps, and a tenth of them, at either end of a training


def arrival_fact(run: Any) -> str | None:
    """Return which terms of the loss did not arrive as declared, and what no term explains.

    Medians over the captured steps; where the first and the last of them differ, as with a weight
    or a temperature that changes while it trains, those of either end. None where all arrived as
    declared.
    """
    rows = _term_rows(run, ("term", "arrived", "rest"))
    terms = [str(term) for term in dict.fromkeys(rows["term"])]
    found = {term: _course(rows["arrived"][rows["term"] == term]) for term in terms}
    found = {term: course for term, course in found.items() if course}
    rest = _course(rows["rest"][rows["term"] == terms[0]]) if terms else ()
    other = {n: course for n, course in found.items() if max(abs(x - 1) for x in course) > NEAR}
    if not found or not (other or max(rest, default=0.0) > NEAR):
        return None
    left = f"{_over('{} of it', rest, 2)} is explained by none of the terms"
    values = np.concatenate([*found.values()])
    alike = 1 < len(found) == len(values) and np.ptp(values) <= NEAR * abs(values).max()
    if alike and other:
        times = "twice" if abs(values.mean() - 2) <= NEAR else f"{numeral(values.mean())} times"
        return f"everything arrives {times}; {left}"
    words = [f"{n} arrives {_over('at {} of its weight', course)}" for n, course in other.items()]
    every = "all terms arrive at their weights"
    every = f"{next(iter(found))} arrives at its weight" if len(found) == 1 else every
    words += ["the others as declared" if other else every] * (len(other) < len(found))
    if "ce" in other and re.search(r"ignore_index=-?\d", getattr(run.info, "loss", "")):
        words.append("the declared ce is a mean over all rows, torch's own over those with a label")
    return "; ".join([*words, left])


def ramp_fact(run: Any) -> str | None:
    """Return the warm-up factors at the first and last captured step, one where it stays.

    None where all are 1.
    """
    rows = _term_rows(run, ("step", "term", "ramp"))
    words = []
    for term in dict.fromkeys(rows["term"]):
        ramp = rows["ramp"][rows["term"] == term]
        if (ramp != 1).any():
            ends = (ramp[0], ramp[-1]) if np.ptp(ramp) else (ramp[0],)
            words.append(f"{term} {' to '.join(numeral(factor) for factor in ends)}")
    return ", ".join(words) or None


def _term_rows(run: Any, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns of what a run says of its terms, ordered by step; empty where it says nothing."""
    batches = [*run.batches(columns, 65_536, kind="terms")] if run.columns_of("terms") else []
    empty = {name: np.zeros(0) for name in columns}
    return {n: np.concatenate([b[n] for b in batches]) for n in columns} if batches else empty


def _course(values: np.ndarray) -> tuple[float, ...]:
    """Return the median; of values of which the last all lie on one side of the first, both ends'.

    Without a change that is so by chance of one term in 126, and of few by ``NEAR``, where steps
    are independent; what drifts from step to step is said of both ends more often.
    """
    known = values[~np.isnan(values)]
    known = np.where(abs(known) > NOUGHT, known, 0.0)
    if not len(known):
        return ()
    many = max(ENDS, len(known) // 10)
    first, last = known[:many], known[-many:]
    ends = float(np.median(first)), float(np.median(last))
    apart = first.max() < last.min() or last.max() < first.min()
    if len(known) >= 2 * many and apart and abs(ends[1] - ends[0]) > NEAR:
        return ends
    return (float(np.median(known)),)


def _over(phrase: str, course: tuple[float, ...], digits: int = 3) -> str:
    """Say a course, each number within the phrase."""
    first, *last = (phrase.format(numeral(value, digits)) for value in course)
    return f"{first} in the first captured steps and {last[0]} in the last" if last else first
