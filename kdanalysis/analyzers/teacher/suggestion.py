"""Suggestion: settings of GDKD to start from, by the rules of ``suggestion_rules``.

Of a vocabulary it is the number of tokens to keep, by ``suggestion_tokens``.
"""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.noun import Noun, Reading
from kdanalysis.analyzers.teacher.suggestion_rules import (
    Suggested,
    suggest_k,
    suggest_temperature,
    suggest_weights,
)
from kdanalysis.analyzers.teacher.suggestion_tokens import LOST, suggest_tokens, tokens_sentence
from kdanalysis.core.vocabulary import VOCABULARY

CAVEAT = "Where to start, not an optimum: rules on the teacher's numbers, no student was trained."
TILES = {
    "temperature": "Temperature",
    "k": "k",
    "w_high": "Weight of high",
    "w_low_top": "Weight of low_top",
    "w_low_other": "Weight of low_other",
    **{f"k_{100 * lost:g}": f"K for {lost:.0%} of the mass" for lost in LOST},
}


class Suggestion(Noun):
    """A setting a row, with its rule; made by ``suggest`` from the tables of a teacher."""

    noun, title = "suggestion", "Settings to start from"


def suggest(
    teacher: pd.DataFrame,
    mass: pd.DataFrame,
    modality: pd.DataFrame | None = None,
    calibration: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return columns setting, value, rule, evidence, would_change.

    Settings are temperature, k, w_high, w_low_top and w_low_other; temperature alone for two
    classes, where the low terms of GDKD are 0; none where no sample was finite. Of more than 5000
    classes they are numbers of tokens, as ``suggest_tokens`` returns them.

    Args:
        teacher: columns quantity, temperature, value (``TeacherDistribution``).
        mass: columns temperature, k, mean (``TopKMass``), at the same temperatures.
        modality: columns target, k, share, temperature (``Modality``), where there are labels.
        calibration: columns temperature, ece, nll (``Calibration``), where there are labels; they
            change no number, but say at which T between the steps of the ladder NLL is least.
    """
    classes = int(mass.k.max())
    if classes > VOCABULARY:
        return suggest_tokens(mass)
    card = teacher.dropna(subset="temperature").pivot(
        index="temperature", columns="quantity", values="value"
    )
    if card.rest_entropy_mean.isna().any():
        return pd.DataFrame(columns=list(Suggested._fields))
    rows = [suggest_temperature(card, classes, calibration)]
    if classes > 2:
        rows.append(suggest_k(card, classes, modality))
        at = mass[mass.temperature == rows[0].value].sort_values("k")["mean"].to_numpy()
        rows += suggest_weights(np.diff(at, prepend=0.0), int(rows[1].value), float(rows[0].value))
    return pd.DataFrame(rows)


def loss_text(table: pd.DataFrame) -> str:
    """Return the suggested loss as ``parse_loss`` reads it; KD for two classes.

    Args:
        table: what ``suggest`` returns, with at least its temperature.
    """
    value = table.set_index("setting").value
    temperature = f"temperature={value['temperature']:g}"
    if "k" not in value:
        return f"kd:{temperature}"
    weights = "/".join(f"{value[f'w_{term}']:g}" for term in ("high", "low_top", "low_other"))
    return f"gdkd:k={value['k']:g},weights={weights},{temperature}"


@Suggestion.reads()
def suggestion_reading(table: pd.DataFrame) -> Reading:
    """What the suggestions are, and where they do not apply; the loss as an option to paste."""
    if table.empty:
        return Reading("No sample is finite, so nothing can be suggested.")
    if "temperature" not in set(table.setting):
        return Reading(tokens_sentence(table))
    few = "With two classes the low terms of GDKD are 0, so plain KD is suggested."
    text = CAVEAT if "k" in set(table.setting) else f"{CAVEAT} {few}"
    return Reading(text, f"--loss {loss_text(table)}")


def suggestion_tiles(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return label, value and an empty note of every setting."""
    return [(TILES[row.setting], f"{row.value:g}", "") for row in table.itertuples()]


@Suggestion.shortens
def values_as_text(table: pd.DataFrame) -> pd.DataFrame:
    """The values as text, so that 17 stays 17 beside 2.5."""
    return table.assign(value=[f"{value:g}" for value in table.value])
