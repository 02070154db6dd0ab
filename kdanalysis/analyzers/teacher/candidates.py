"""Candidates: losses to try on a teacher, each held against plain KD at one temperature.

No student is trained, so that nothing here says which loss is better. The papers' weights are those
of DKD (arXiv 2203.08679) and GDKD (2512.04625) on CIFAR-100. The rule's follow from the teacher:

- **k**: the ranks whose mean mass is above 1/c, the knee of the mean top-k mass;
- **weights**: high has 1; low_top gets what makes its gradient as loud as high's for a student that
  knows nothing (see ``loudness``), low_other what makes it as loud as the louder of the two, both
  rounded and kept within the papers' weights, 1 to 2 and 1 to 8.
"""

from collections.abc import Mapping
from math import floor, isnan
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Labels, Logits
from kdanalysis.analyzers.noun import Noun, Reading
from kdanalysis.analyzers.targets import Targets
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.direction_reading import ERRORS, against_first, far_text, measured
from kdanalysis.core.wording import counted, numeral

USUAL = 4.0  # the papers' temperature
MOST = {"low_top": 2, "low_other": 8}  # their weights
UNIFORM, OWN = "uniform", "of the file"
NUMBERS = ("cosine", "cosine_batch", "multiplier", *ERRORS, "n")
COLUMNS = ("candidate", "loss", "why", *NUMBERS, "student")
ALIKE = 1e-6  # a norm below it is rounding
UNSEEN = 1e-9  # a mass below it has lost its digits in the cumulative mass


class Candidates(Noun):
    """A loss a row; made by ``candidate_table``."""

    noun, title = "candidates", "Candidates to try"


class FromUniform(LossDirection):
    """``LossDirection`` at a student whose logits are all equal: it needs the teacher alone.

    Args:
        losses: two or more by name, the one to hold the others against first.
    """

    needs, takes = ("teacher_logits",), ("target",)

    def analysed(self, given: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Return the finite rows and the place of the only step."""
        return super().analysed(given | {"step": None, "epoch": None})

    def add(self, teacher: Logits, targets: Targets, place: Labels) -> None:
        """Add the finite samples of a batch."""
        super().add(torch.zeros_like(teacher), teacher, targets, place)


def choose(mass: pd.DataFrame, labelled: bool) -> dict[str, tuple[str, str]]:
    """Return loss and reason of every candidate by its name, plain KD first, all at one T.

    It is the papers' 4, or the temperature of the table next to it. Two classes leave plain KD,
    as DKD's and GDKD's low terms are 0; empty where no sample was finite.

    Args:
        mass: columns temperature, k, mean (``TopKMass``).
        labelled: whether there are labels, which DKD needs.
    """
    ladder = np.array(sorted(mass.temperature.unique()))
    temperature = float(ladder[np.abs(np.log(ladder / USUAL)).argmin()])
    rows = mass[mass.temperature == temperature].sort_values("k")
    ranks, classes = np.diff(rows["mean"].to_numpy(), prepend=0.0), len(rows)
    if np.isnan(ranks).any():
        return {}
    at = f"temperature={temperature:g}"
    found = {"KD": (f"kd:{at}", "what the others are held against")}
    if classes == 2:
        return found
    if labelled:
        found["DKD's default"] = f"dkd:alpha=1,beta=8,{at}", "the paper's weights on CIFAR-100"
    k = min(5, classes - 1)
    found["GDKD's default"] = f"gdkd:k={k},weights=1/1/8,{at}", "the paper's k and weights there"
    k = int(np.clip((ranks > 1 / classes).sum(), 1, classes - 1))
    (top, other), why = rule_weights(ranks, k, temperature)
    found["the rule's"] = f"gdkd:k={k},weights=1/{top}/{other},{at}", why
    return found


def rule_weights(
    ranks: Float[np.ndarray, " c"], k: int, temperature: float | int
) -> tuple[tuple[int, int], str]:
    """Return the weights of low_top and low_other that make the terms alike loud, and why.

    Args:
        ranks: mean teacher mass of every rank at T, largest first.
        k: size of the top group.
        temperature: T.
    """
    norms = loudness(ranks, k, temperature)
    loudest = max(norms["high"], norms["low_top"])
    top, of_top = weigh(norms["high"], norms["low_top"], MOST["low_top"])
    other, of_other = weigh(loudest, norms["low_other"], MOST["low_other"])
    heard = ", ".join(f"{term} {numeral(norm)}" for term, norm in norms.items())
    why = (
        f"{k} ranks hold more than 1/c each; norms on a uniform student: {heard} (low_top: "
        f"{of_top}; low_other: {of_other})"
    )
    return (top, other), why if norms[
        "high"
    ] > ALIKE else "the teacher is uniform: nothing to teach"


def candidate_table(
    chosen: Mapping[str, tuple[str, str]], direction: pd.DataFrame | None, student: str = UNIFORM
) -> pd.DataFrame:
    """Return columns candidate, loss, why, cosine, cosine_batch, multiplier, ..., n, student.

    cosine, cosine_batch and multiplier, and their standard errors after them, are those of
    ``LossDirection`` against plain KD.

    Args:
        chosen: what ``choose`` returns.
        direction: table of ``LossDirection`` of these losses by name, if there are several.
        student: whose gradients they are: "uniform", or "of the file".
    """
    frame = pd.DataFrame(
        [(name, loss, why) for name, (loss, why) in chosen.items()], columns=list(COLUMNS[:3])
    )
    itself = dict.fromkeys(NUMBERS[:3], 1.0) | dict.fromkeys(ERRORS, 0.0)
    rows: list[dict[str, Any]] = [itself]
    if direction is not None:
        found = against_first(direction)[list(NUMBERS)]
        rows = [rows[0] | {"n": int(found.n.max())}, *found.to_dict("records")]
    numbers = pd.DataFrame(rows, columns=list(NUMBERS)).iloc[: len(frame)]
    return pd.concat([frame, numbers], axis=1).assign(student=student)


@Candidates.reads()
def candidates_reading(table: pd.DataFrame) -> Reading:
    """How the candidates turn and step against KD, with 95 % intervals; the losses to paste."""
    if table.empty:
        return Reading("No sample is finite, so there is nothing to try.")
    number = "\n".join(f"--loss {loss}" for loss in table.loss)
    if len(table) == 1:
        return Reading(
            "With two classes DKD's and GDKD's low terms are 0: plain KD is left.", number
        )
    if table.cosine.iloc[1:].isna().all():
        return Reading(
            "KD has no gradient here, as the teacher's logits are all equal: no loss can be held "
            "against it.",
            number,
        )
    whose = f"the student of the file ({counted(int(table.n.iloc[0]), 'sample')})"
    if table.student.iloc[0] == UNIFORM:
        whose = "a student whose logits are all equal"
    claims = ", ".join(_claim(row) for row in table.iloc[1:].itertuples())
    return Reading(
        f"Against KD, all at one T, for {whose}: {claims}. No student was trained: which of them "
        f"teaches better cannot be tested here.",
        number,
    )


def _claim(row: Any) -> str:
    cosine, _, far = measured(row)
    return f"{row.candidate} cosine {cosine.text()}, {far_text(far)} as far"


@Candidates.shortens
def without_reasons(table: pd.DataFrame) -> pd.DataFrame:
    """The losses and how they lie to KD; the reasons stand in the table itself."""
    return table.drop(columns=[*ERRORS, "n", "student"], errors="ignore")


def loudness(
    ranks: Float[np.ndarray, " c"], k: int, temperature: float | int
) -> dict[str, float | int]:
    """Return the norms of high, low_top and low_other for a student that knows nothing, q = 1/c.

    In the student's logits, T^2 included; with r_i the mean mass of rank i and P that of the top k
    the closed forms of the gradients give

        high = T |P - k/c| sqrt(1/k + 1/(c - k))
        low_top = T ||r_top / P - 1/k||
        low_other = T ||r_other / (1 - P) - 1/(c - k)||

    These are norms of the mean teacher. The mean norm over samples is another number: it follows
    from ``TermSweep`` with a student of zeros.

    Args:
        ranks: teacher mass of every rank as softened by T, largest first.
        k: size of the top group, 0 < k < c.
        temperature: T.

    Returns:
        The norms by term; NaN for a group that holds no mass.
    """
    classes, top = len(ranks), ranks[:k].sum()
    high = abs(top - k / classes) * np.sqrt(1 / k + 1 / (classes - k))
    low_top, low_other = (
        np.linalg.norm(group / group.sum() - 1 / len(group)) if group.sum() > UNSEEN else np.nan
        for group in (ranks[:k], ranks[k:])
    )
    norms = {"high": high, "low_top": low_top, "low_other": low_other}
    return {term: float(temperature * norm) for term, norm in norms.items()}


def weigh(loudest: float | int, norm: float | int, most: int) -> tuple[int, str]:
    """Return the weight that makes ``norm`` as loud as ``loudest``, from 1 to ``most``, and why.

    A group without mass gets the largest weight, one whose classes are alike the smallest.
    """
    if isnan(norm):
        return most, "the mass there is too small to be told from 0, so the largest weight"
    if norm <= ALIKE:
        return 1, "the teacher tells no class there from another, so there is nothing to amplify"
    ratio = loudest / norm
    return int(np.clip(floor(ratio + 0.5), 1, most)), f"ratio {numeral(ratio)}"  # halves up
