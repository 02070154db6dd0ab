"""Rules that give a setting of GDKD from a teacher's tables, each with the numbers behind it.

Every rule is a line or two of arithmetic on numbers that ``diagnose`` has measured already. They
come from the algebra of the terms and not from trained students, so they say where to start, not
what is best.

- **temperature**: the gradient of a low term, T (q|g - p|g), tells the classes of its group apart
  as far as p|g spreads over them. T is the smallest of the ladder at which the classes after the
  first are on average at most one bit short of uniform (``rest_entropy_mean >= log((c - 1) / 2)``:
  they weigh as much as half of them would, were they equal), at which at most 1 % of samples
  underflow in float16 (which underflows before bfloat16 and float32 do), and which is not below
  the T of least NLL, where the probabilities are honest. A larger T moves p|g on towards uniform.
- **k**: T changes no rank, so the candidates are counted where the probabilities are honest: at
  the T of least NLL, at the smallest T without labels. k is the smaller of the knee, the ranks
  whose mean mass is above 1/c, and the mean k of auto-k, rounded. Both err upwards: the knee for a
  soft teacher, for which it tends to c/2; auto-k for a sharp one, whose least probabilities
  lie far apart.
- **weights**: high has 1. How loud a term is, is its gradient norm for a student that knows
  nothing (see ``loudness``). low_top gets what makes it as loud as high, low_other what makes it
  as loud as the louder of the two; rounded, and kept within the weights of the papers on
  CIFAR-100, 1 to 2 and 1 to 8. A group whose classes the teacher holds to be alike has nothing to
  amplify: 1.
"""

from math import inf, log
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from kdanalysis.analyzers.teacher.loudness import ALIKE, half_up, loudness, weigh
from kdanalysis.analyzers.teacher.modality import mean_k

HALF = 2.0  # the rest weighs as much as one in HALF of its classes would, were they equal
LOST = 0.01  # share of samples that may underflow in float16
MOST = {"low_top": 2, "low_other": 8}  # weights of arXiv 2203.08679 and 2512.04625


class Suggested(NamedTuple):
    """A number, the rule it follows from, what was measured, and what would change it."""

    setting: str
    value: float | int
    rule: str
    evidence: str
    would_change: str


def suggest_temperature(
    card: pd.DataFrame, classes: int, calibration: pd.DataFrame | None
) -> Suggested:
    """The smallest T of the ladder that fulfils every condition, or the largest there is."""
    ladder = list(card.index)
    least = {
        "the classes after the first": first(card.rest_entropy_mean >= rest_bound(classes)),
        "float16": first(card.underflow_fp16 <= LOST),
    }
    if "nll" in card:
        least["calibration"] = card.nll.idxmin()
    value = min(max(least.values()), ladder[-1])
    below = ladder[: ladder.index(value)][-1:]
    return Suggested(
        "temperature",
        value,
        f"the smallest T of the ladder at which the classes after the first weigh as much as half "
        f"of them would if equal, at most {100 * LOST:g} % of samples underflow in float16"
        + (", and not below the T of least NLL" if "nll" in card else ""),
        f"{rest_evidence(card.loc[[*below, value]], classes)}; "
        f"{calibration_evidence(card, calibration, value)}",
        temperature_change(card, least, value, below),
    )


def rest_bound(classes: int) -> float | int:
    """Entropy that the rest must reach, nats; rounding does not count."""
    return log((classes - 1) / HALF) - 1e-12


def first(fulfilled: pd.Series) -> float | int:
    """The smallest T at which a condition holds; inf where none does."""
    return float(fulfilled.index[fulfilled].min()) if fulfilled.any() else inf


def rest_evidence(rows: pd.DataFrame, classes: int) -> str:
    """What was measured at the suggested T and at the one below, label-free."""
    equal = " and ".join(f"{np.exp(h):.3g} at T = {t:g}" for t, h in rows.rest_entropy_mean.items())
    lost = " and ".join(f"{100 * share:.3g} %" for share in rows.underflow_fp16)
    return (
        f"equal classes that weigh as much as the {classes - 1} after the first: {equal}; "
        f"{lost} of samples underflow in float16"
    )


def calibration_evidence(
    card: pd.DataFrame, calibration: pd.DataFrame | None, value: float | int
) -> str:
    """Where the probabilities are honest, and how far from it the suggested T takes them."""
    if "nll" not in card:
        return "no labels, so calibration is not known"
    text = f"least NLL of the ladder {card.nll.min():.3g} nats at T = {card.nll.idxmin():g}"
    if calibration is not None:
        honest = calibration.loc[calibration.nll.idxmin()]
        text += (
            f", of a finer one at T = {honest.temperature:.3g}; calibration error {honest.ece:.2g} "
            f"there, {card.ece_15[value]:.2g} at T = {value:g}"
        )
    return text


def temperature_change(
    card: pd.DataFrame, least: dict[str, float | int], value: float | int, below: list[float]
) -> str:
    """Which condition holds T where it is."""
    missed = [name for name, t in least.items() if t > value]
    if missed:
        return (
            f"a ladder that reaches further: T = {value:g} is its end and too low for {missed[0]}"
        )
    labels = "" if "nll" in card else "; labels, which could only raise it"
    if not below:
        return f"a ladder that starts lower: {value:g} is its first step{labels}"
    held = " and ".join(name for name, t in least.items() if t == value)
    return f"a finer ladder: T = {below[0]:g} is too low for {held}{labels}"


def suggest_k(card: pd.DataFrame, classes: int, modality: pd.DataFrame | None) -> Suggested:
    """The smaller of the knee and auto-k's mean, where the probabilities are honest."""
    labelled = "nll" in card
    honest = card.nll.idxmin() if labelled else card.index[0]
    knee, modes = card.knee[honest], card.modality[honest]
    change = "classes whose number of modes differs: k=auto gives every sample its own k"
    if modality is not None and len(modality):
        mean = mean_k(modality)
        change += (
            f" (auto-k by class: {mean.min():.3g} to {mean.max():.3g} "
            f"at T = {modality.temperature.iloc[0]:g})"
        )
    if max(knee, modes) > 2 * min(knee, modes):
        change = f"knee and auto-k are far apart, so the modes are not well separated; {change}"
    where = "of least NLL" if labelled else "at the start of the ladder, as there are no labels"
    return Suggested(
        "k",
        int(np.clip(min(knee, half_up(modes)), 1, classes - 1)),
        f"the smaller of the knee of the mean top-k mass and auto-k's mean k, at the T {where}",
        f"T = {honest:g}: knee {knee:g}, auto-k {modes:.3g}",
        change,
    )


def suggest_weights(
    ranks: Float[np.ndarray, " c"], k: int, temperature: float | int
) -> list[Suggested]:
    """Weights that make the three terms about as loud, from the mean mass of every rank at T."""
    norms = loudness(ranks, k, temperature)
    heard = ", ".join(f"{term} {norm:.3g}" for term, norm in norms.items())
    evidence = f"gradient norms on a uniform student: {heard}"
    if norms["high"] <= ALIKE:
        evidence = "the teacher is uniform: it has nothing to teach"
    change = "nothing: only the ratios count, beside the weight of cross-entropy"
    high = Suggested("w_high", 1, "the unit of the other two", evidence, change)
    loudest = max(norms["high"], norms["low_top"])
    top = suggest_weight("low_top", "high", norms["high"], norms["low_top"], ranks[:k].sum())
    other = suggest_weight(
        "low_other", "the louder of high and low_top", loudest, norms["low_other"], ranks[k:].sum()
    )
    return [high, top, other]


def suggest_weight(
    term: str, louder: str, loudest: float | int, norm: float | int, mass: float | int
) -> Suggested:
    """Weight of one low term; ``mass`` is the teacher's mass of its group, its weight inside KD."""
    value, why = weigh(loudest, norm, MOST[term])
    return Suggested(
        f"w_{term}",
        value,
        f"norm of {louder} over that of {term} on a uniform student, rounded, "
        f"1 to {MOST[term]} as in the papers on CIFAR-100",
        f"{why}; inside KD its weight is the teacher's mass there, {mass:.3g}",
        "another k or T, or a student that has learned: kdanalysis sweep shows the norms of yours",
    )
