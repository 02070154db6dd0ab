"""Direction or step in words: which losses only step further, with 95 % intervals."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.evidence import Interval
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.core.wording import numeral, numerals
from kdanalysis.draw.tables import require

COLUMNS = (
    *("step", "teacher", "loss_a", "loss_b", "cosine", "cosine_batch", "norm_a", "norm_b"),
    *("multiplier", "ratio_q25", "ratio_q75", "n", "no_gradient"),
)
ERRORS = ("cosine_se", "cosine_batch_se", "multiplier_se")  # tables made before lack them
NO_GRADIENT = (
    "the student gives its teacher's probabilities in every row, where KD has no gradient, so that "
    "cosines, shares and ratios of gradients are NaN"
)
SAME = 0.95  # a cosine from here on is the same direction: within 18 degrees
ROUNDING = 1e-6  # of its length, what two equal gradients may differ by
SAYINGS = {
    "equal": "The gradient of {first} itself: {claims}.",
    "scaled": (
        f"Only the step differs from {{first}}: {{claims}}; cosines of at least {SAME:g}, by "
        "sample and over the batch, are the same direction."
    ),
    "uneven": (
        "By the mean over samples the direction of {first}, but not over the batch, where long "
        "gradients count more and one factor must fit all samples: {claims}."
    ),
    "turned": "Not only the step, the direction differs from {first}: {claims}.",
    "open": (
        f"Whether they point where {{first}} does these samples do not tell, an interval holding "
        f"{SAME:g} or being unknown: {{claims}}."
    ),
    "": "No sample has both a gradient of {first} and of these losses: {claims}.",
}


@LossDirection.reads()
def direction_reading(table: pd.DataFrame) -> Reading:
    """Which losses only step further than the first, and which turn; how far each one steps.

    Each with its 95 % interval over samples; a direction is the same, or another, where the whole
    interval lies on that side of 0.95. The number is the ratio of mean norms, how many times as far
    as the first a loss steps.
    """
    rows = against_first(table)
    first = rows.loss_a.iloc[0]
    claims = {kind: [] for kind in SAYINGS}
    for row in rows.itertuples():
        cosine, batch, far = measured(row)
        cosines = f"cosine {cosine.text()}, over the batch {batch.text()}"
        kind, more = kind_of(row), f" ({cosines}; {far_text(far)} as far)"
        claims[kind].append(row.loss_b + (more if kind not in ("", "equal") else ""))
    parts = [
        saying.format(first=first, claims=", ".join(claims[kind]))
        for kind, saying in SAYINGS.items()
        if claims[kind]
    ]
    known = rows[rows.multiplier.notna()]
    factors = zip(known.loss_b, numerals(*known.multiplier), strict=True)
    steps = ", ".join(f"{loss} {factor}" for loss, factor in factors)
    return Reading(" ".join(parts), f"times as far as {first}: {steps}")


def kind_of(row: object) -> str:
    """Return the key of ``SAYINGS`` for a row against the first loss."""
    if np.isnan(row.cosine):
        return ""
    cosine, batch, far = measured(row)
    turned = 2 * (1 - min(cosine.value, batch.value))  # the square of how far apart at one length
    if abs(far.value - 1) < ROUNDING and turned < ROUNDING**2:
        return "equal"
    if cosine.high < SAME:
        return "turned"
    if cosine.low >= SAME and batch.high < SAME:
        return "uneven"
    return "scaled" if min(cosine.low, batch.low) >= SAME else "open"


def measured(row: object) -> tuple[Interval, Interval, Interval]:
    """Return cosine, that over the batch, and multiplier of a row; half NaN where not known."""
    reach = wide(getattr(row, "n", np.inf))
    errors = (reach * float(getattr(row, name, np.nan)) for name in ERRORS)
    values = (row.cosine, row.cosine_batch, row.multiplier)
    return tuple(Interval(float(v), e) for v, e in zip(values, errors, strict=True))


def far_text(factor: Interval) -> str:
    """Write how many times as far, with half of its interval: ``8.030 ± 0.081 times``."""
    known = np.isfinite(factor.half)
    return f"{factor.text('.3g') if known else numeral(factor.value)} times"


def against_first(table: pd.DataFrame, teacher: str = "all") -> pd.DataFrame:
    """Rows of the other losses against the first one, over the samples of all steps."""
    rows = over_all_steps(table)
    rows = rows[(rows.teacher == teacher) & (rows.loss_a == rows.loss_a.iloc[0])]
    if rows.empty:
        raise ValueError(f"teacher is one of {sorted(set(table.teacher))}, got {teacher!r}")
    return rows.reset_index(drop=True)


def over_all_steps(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of all steps together: those whose step is <NA>, or all where there is one step."""
    require(table, *COLUMNS, number="cosine")
    return table if table.step.nunique(dropna=False) == 1 else table[table.step.isna()]


def is_silent(table: pd.DataFrame) -> bool:
    """Whether there are samples, and none has a gradient of the first loss and of another."""
    known = table[table.loss_a == table.loss_a.iloc[0]]
    return bool(known.n.max() > 0 and known.cosine.isna().all())
