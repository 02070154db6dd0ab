"""How far students' accuracies may differ by chance: sample by sample, where all saw the same."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from kdanalysis.analyzers.evidence import Z
from kdanalysis.studies.source import Source

NEEDED = ("teacher_logits", "student_logits", "target")


def paired_errors(sources: Mapping[str, Source]) -> dict[str, pd.DataFrame] | None:
    """Standard errors of the differences of two students, of their samples one by one.

    Of d, 1 where one student alone is right, -1 where the other alone is, else 0, over n samples:
    sqrt(var(d) / n). Two samples more are counted in it, one for either student (Bonett and Price,
    2012), without which few that are alike would have none; it is widened to hold around the plain
    difference. Rows with NaN or infinite logits are left out for all, and those without a label of
    what is right.

    Args:
        sources: by name.

    Returns:
        ``agreement`` with the teacher and ``student_accuracy``: a row and a column a source. None
        where they are steps of trainings, lack a column, or their labels or ids differ in a row:
        those are other samples, or another order.
    """
    for one in sources.values():
        if one.kept or one.over_steps or not {*NEEDED} <= {*one.columns("samples")}:
            return None
    if len({one.num_rows for one in sources.values()}) > 1:
        return None
    ids = all("sample_id" in one.columns("samples") for one in sources.values())
    columns = [*NEEDED, *["sample_id"] * ids]
    size = min(one.batch_size("samples") for one in sources.values())
    parts = [one.batches("samples", columns, size) for one in sources.values()]
    sums = {name: Differences(len(sources)) for name in ("agreement", "student_accuracy")}
    for batches in zip(*parts, strict=True):
        first = batches[0]
        if any((one[key] != first[key]).any() for one in batches for key in columns[2:]):
            return None
        sides = [[one[side] for one in batches] for side in NEEDED[:2]]
        known = np.all([np.isfinite(x).all(1) for side in sides for x in side], 0)
        said, taught = ([x[known].argmax(1) for x in side] for side in reversed(sides))
        target = first["target"][known]
        sums["agreement"].add(np.equal(taught, said))
        sums["student_accuracy"].add(np.equal(said, target)[:, target >= 0])
    names = list(sources)
    return {q: pd.DataFrame(one.errors(), names, names) for q, one in sums.items()}


class Differences:
    """Sums of what students get right, alone and together."""

    def __init__(self, count: int) -> None:
        self.n, self.together = 0, np.zeros((count, count))

    def add(self, right: np.ndarray) -> None:
        """Add samples: which student (row) is right on which (column)."""
        self.n += right.shape[1]
        self.together += right.astype(float) @ right.T.astype(float)

    def errors(self) -> np.ndarray:
        """Standard errors of all differences of means; NaN of no sample."""
        if not self.n:
            return np.full_like(self.together, np.nan)
        alone, n = np.diag(self.together), self.n + 2
        apart = alone[:, None] + alone - 2 * self.together  # where one of two alone is right
        lead = alone[:, None] - alone
        errors = np.sqrt(((apart + 2) / n - (lead / n) ** 2) / n) + abs(lead) * 2 / (n * self.n * Z)
        np.fill_diagonal(errors, 0)
        return errors
