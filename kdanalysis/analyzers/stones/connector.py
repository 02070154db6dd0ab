"""How well connectors turn a student's features into its teacher's."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.stones.ladder import said
from kdanalysis.core.wording import percent, written


class ConnectorFit(Analyzer):
    """Share of the variance of the teacher's features that the connected student's explain.

        R^2 = 1 - sum ||y - C(x)||^2 / sum ||y - mean(y)||^2

    Sums over samples, positions and channels; the mean is that of each channel. Below 0 where the
    mean itself would be nearer, as for connectors that were trained for other than the features.

    Args:
        stones: channels of the teacher's features, by the stone's name.
    """

    noun, title = "connector", "Connectors"
    of_runs = False
    needs = ("connected", "teacher_features")

    def __init__(self, stones: Mapping[str, int]) -> None:
        super().__init__(stones=dict(stones))
        for state in ("left", "squares", "rows", "bad"):
            self.add_sum(state, len(self.stones))
        for place, width in enumerate(self.stones.values()):
            self.add_sum(f"sum{place}", width)

    def update(
        self,
        connected: Sequence[Float[Tensor, "n ..."]],
        teacher_features: Sequence[Float[Tensor, "n ..."]],
    ) -> None:
        """Add one batch: what each stone's connector gives, and what the teacher's block gives.

        Raises:
            ValueError: a pair of other shapes than each other's, or another number of stones.
        """
        for place, (x, y) in enumerate(zip(connected, teacher_features, strict=True)):
            if x.shape != y.shape:
                raise ValueError(
                    f"the connector gives {tuple(x.shape)}, the teacher's block {tuple(y.shape)}"
                )
            kept = (x.isfinite() & y.isfinite()).flatten(1).all(-1)
            x, y = (side[kept].double() for side in (x, y))
            channels = y.movedim(1, -1) if y.dim() == 4 else y
            self.left[place] += (y - x).square().sum()
            self.squares[place] += y.square().sum()
            self.rows[place] += channels.shape[:-1].numel()
            getattr(self, f"sum{place}").add_(channels.flatten(0, -2).sum(0))
            self.bad[place] += (~kept).sum()

    def compute(self) -> dict[str, Tensor]:
        """R^2 and rows by stone, and non_finite; NaN where the features do not vary."""
        means = [
            getattr(self, f"sum{place}").square().sum() / self.rows[place]
            for place in range(len(self.stones))
        ]
        total = self.squares - torch.stack(means)
        known = total > 1e-12 * self.squares
        return {
            "r2": 1 - self.left / total.where(known, torch.nan),
            "rows": self.rows.clone(),
            "non_finite": self.bad.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns side, r2, rows, non_finite; one row a stone."""
        return self.frame([(stone,) for stone in self.stones], ["side"])


@ConnectorFit.reads()
def connector_reading(table: pd.DataFrame) -> Reading:
    """How far the student's features can stand in for the teacher's; R^2 of every connector.

    Only connectors that were fitted to the features (column r2_fit) say what follows from them;
    trained ones learn from the stones' loss, and say how near to the features they came.
    """
    number = "; ".join(
        f"{said(row.side)} R² {written(row.r2, '.2f')}" for row in table.itertuples()
    )
    known = table[table.r2.notna()]
    if known.empty:
        told = "The teacher's features do not vary, so that nothing of them can be explained."
        return Reading(told, number)
    worst, best = known.loc[known.r2.idxmin()], known.r2.max()
    if pd.isna(worst.get("r2_fit")):
        farther = f"{(known.r2 < 0).sum()} of {len(known)}"
        told = (
            f"These connectors learnt from the stones' loss, not from the teacher's features: R² "
            f"is {written(worst.r2, '.2f')} ({said(worst.side)}) to {written(best, '.2f')}, and "
            f"{farther} are farther from these features than their own mean is."
        )
    else:
        told = (
            f"From {percent(worst.r2)} ({said(worst.side)}, {percent(worst.r2_fit)} on the "
            f"images of the fit) to {percent(best)} of the variance of the teacher's features "
            "follows linearly from the student's; what a stone lacks may be what its connector "
            "lacks."
        )
    return Reading(told, number)
