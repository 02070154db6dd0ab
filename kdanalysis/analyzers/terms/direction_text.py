"""Direction or step in words: which losses point where the first one does, how far each steps."""

import numpy as np
import pandas as pd

from kdanalysis.draw.look import require

SAME = 0.95  # a cosine from here on is the same direction: within 18 degrees
SAYINGS = {
    "scaled": (
        f"Only the step differs from {{first}}: {{claims}}; cosines of at least {SAME:g}, by "
        "sample and over the batch, are the same direction."
    ),
    "uneven": (
        "By the mean over samples the direction of {first}, but not over the batch, where long "
        "gradients count more and one factor must fit all samples: {claims}."
    ),
    "turned": "Not only the step, the direction differs from {first}: {claims}.",
    "": "No sample has both a gradient of {first} and of these losses: {claims}.",
}


def direction_number(table: pd.DataFrame) -> str:
    """How many times as far as the first each loss steps: ratios of mean norms."""
    rows = against_first(table)
    steps = ", ".join(f"{row.loss_b} {row.multiplier:.3g}" for row in rows.itertuples())
    return f"times as far as {rows.loss_a.iloc[0]}: {steps}"


def direction_sentence(table: pd.DataFrame) -> str:
    """What to read: which losses only step further than the first, and which turn."""
    rows = against_first(table)
    first = rows.loss_a.iloc[0]
    kinds = [kind_of(row) for row in rows.itertuples()]
    parts = []
    for kind, saying in SAYINGS.items():
        claims = [
            _claim(row) for row, its in zip(rows.itertuples(), kinds, strict=True) if its == kind
        ]
        if claims:
            parts.append(saying.format(first=first, claims=", ".join(claims)))
    return " ".join(parts)


def kind_of(row: object) -> str:
    """Return the key of ``SAYINGS`` for a row against the first loss."""
    if np.isnan(row.cosine):
        return ""
    if row.cosine < SAME:
        return "turned"
    return "scaled" if row.cosine_batch >= SAME else "uneven"


def against_first(table: pd.DataFrame, teacher: str = "all") -> pd.DataFrame:
    """Rows of the other losses against the first one, over the samples of all steps."""
    rows = over_all_steps(table)
    rows = rows[(rows.teacher == teacher) & (rows.loss_a == rows.loss_a.iloc[0])]
    if rows.empty:
        raise ValueError(f"teacher is one of {sorted(set(table.teacher))}, got {teacher!r}")
    return rows.reset_index(drop=True)


def losses_of(table: pd.DataFrame) -> list[str]:
    """All losses in their order, the first one first."""
    return list(dict.fromkeys([*table.loss_a, *table.loss_b]))


def over_all_steps(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of all steps together: those whose step is <NA>, or all where there is one step."""
    require(table, *_COLUMNS, number="cosine")
    return table if table.step.nunique(dropna=False) == 1 else table[table.step.isna()]


def as_terms(table: pd.DataFrame) -> pd.DataFrame:
    """The table as the figures of conflict take it, with losses in the place of terms."""
    rows = over_all_steps(table).rename(columns={"loss_a": "term_a", "loss_b": "term_b"})
    return rows.assign(n=rows.n - rows.no_gradient)


def times(factor: float) -> str:
    """A factor as text, such as ``0.31 x``."""
    return f"{factor:.3g} x"


_COLUMNS = (
    *("step", "teacher", "loss_a", "loss_b", "cosine", "cosine_batch", "norm_a", "norm_b"),
    *("multiplier", "ratio_q25", "ratio_q75", "n", "no_gradient"),
)


def _claim(row: object) -> str:
    if not kind_of(row):
        return row.loss_b
    return (
        f"{row.loss_b} (cosine {row.cosine:.3f}, over the batch {row.cosine_batch:.3f}; "
        f"{times(row.multiplier)} as far)"
    )
