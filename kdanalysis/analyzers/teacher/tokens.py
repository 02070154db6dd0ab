"""How many tokens to keep of a teacher with a vocabulary, from its top-k mass.

Whoever keeps the K largest of a teacher's probabilities and puts the others into one more class, a
bucket, loses the term P_O low_other of the gradient, P_O being the teacher's mass of the others.
low_other is the difference of two distributions over them, so that the absolute values of what is
lost sum to 2 P_O at most, times T. That holds for every student.
"""

import pandas as pd

from kdanalysis.analyzers.noun import Noun, Reading
from kdanalysis.core.wording import numeral, percent

LOST = (0.1, 0.05, 0.01)  # of the teacher's mass
HINT = (
    "What a loss with K tokens keeps of the gradient of a student is shown by kdanalysis truncation"
)


class Tokens(Noun):
    """A bound on the mass that is lost a row; made by ``token_table``."""

    noun, title = "tokens", "Tokens to keep"


def token_table(mass: pd.DataFrame) -> pd.DataFrame:
    """Return columns lost, k, temperature, evidence: the least k of the table for each share.

    Empty where no sample was finite.

    Args:
        mass: columns temperature, k, mean (``TopKMass``).
    """
    curves = mass.pivot(index="k", columns="temperature", values="mean")
    if curves.isna().any(axis=None):
        return pd.DataFrame(columns=["lost", "k", "temperature", "evidence"])
    cold, rows = curves.columns[0], []
    for lost in LOST:
        k = int((curves[cold] >= 1 - lost).idxmax())
        outside = "; ".join(
            f"{numeral(max(1 - curves[t][k], 0), 2)} at T = {t:g}" for t in curves.columns
        )
        rows.append((lost, k, cold, f"mean mass outside: {outside}"))
    return pd.DataFrame(rows, columns=["lost", "k", "temperature", "evidence"])


@Tokens.reads()
def tokens_reading(table: pd.DataFrame) -> Reading:
    """What the numbers bound, and where more is to be seen."""
    if table.empty:
        return Reading("No sample is finite, so nothing can be said.")
    listed = ", ".join(f"{row.k:,} for {percent(row.lost, 0)}" for row in table.itertuples())
    return Reading(
        f"K to keep of the teacher: {listed} of its mass outside. With one more class for the rest "
        f"(a bucket) the absolute values of the gradient that is lost sum to twice that mass at "
        f"most, times T. {HINT}."
    )
