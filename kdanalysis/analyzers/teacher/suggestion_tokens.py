"""How many tokens to keep of a teacher with a vocabulary, from its top-k mass.

Whoever keeps the K largest of a teacher's probabilities and puts the others into one more class, a
bucket, loses the term P_O low_other of the gradient, P_O being the teacher's mass of the others.
low_other is the difference of two distributions over them, so that the absolute values of what is
lost sum to 2 P_O at most, times T. That holds for every student.
"""

import pandas as pd

from kdanalysis.analyzers.teacher.suggestion_rules import Suggested

LOST = (0.1, 0.05, 0.01)  # of the teacher's mass
HINT = (
    "What a loss with K tokens keeps of the gradient of a student is shown by kdanalysis truncation"
)


def suggest_tokens(mass: pd.DataFrame) -> pd.DataFrame:
    """Return columns setting, value, rule, evidence, would_change; a row a bound on what is lost.

    Args:
        mass: columns temperature, k, mean (``TopKMass``).
    """
    curves = mass.pivot(index="k", columns="temperature", values="mean")
    if curves.isna().any(axis=None):
        return pd.DataFrame(columns=list(Suggested._fields))
    cold, *others = curves.columns
    rows = []
    for lost in LOST:
        k = int((curves[cold] >= 1 - lost).idxmax())
        outside = "; ".join(f"{max(1 - curves[t][k], 0):.2g} at T = {t:g}" for t in curves.columns)
        rows.append(
            Suggested(
                f"k_{100 * lost:g}",
                k,
                f"the smallest k of the table mass outside of which the teacher has at most "
                f"{lost:.0%} of its mass on average, at T = {cold:g}",
                f"mean mass outside: {outside}",
                "a warmer T, at which the others hold more" if others else "another temperature",
            )
        )
    return pd.DataFrame(rows)


def tokens_sentence(table: pd.DataFrame) -> str:
    """Say what the numbers bound, and where more is to be seen."""
    listed = ", ".join(f"{row.value:,} for {row.setting[2:]} %" for row in table.itertuples())
    return (
        f"K to keep of the teacher: {listed} of its mass outside. With one more class for the rest "
        f"(a bucket) the absolute values of the gradient that is lost sum to twice that mass at "
        f"most, times T. {HINT}."
    )
