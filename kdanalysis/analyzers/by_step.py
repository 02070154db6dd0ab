"""Sums by captured step: where a sample's step stands, and the epoch each of them belongs to."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.bins import Bins


class ByStep(Analyzer):
    """An analyzer whose sums have the captured steps as their first dimension.

    Args:
        steps: every captured step; a single one for logits that come from no training.
        settings: what else tells it from another of its class, by name.

    Raises:
        ValueError: there is no step, or one is given twice.
    """

    takes = ("step", "epoch")

    def __init__(self, steps: Sequence[int] = (0,), **settings: object) -> None:
        super().__init__(steps=check_steps(steps), **settings)
        self.add_sum("epochs", 2, len(self.steps))

    def analysed(self, given: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Return the finite rows, the places of their steps last.

        Raises:
            ValueError: as :meth:`keep`, or a step that was not announced.
        """
        step, epoch = given.pop("step"), given.pop("epoch")
        place = self.place(step, epoch, next(iter(given.values())))
        return super().analysed(given | {"place": place})

    def place(
        self, step: Int[Tensor, " n"] | None, epoch: Int[Tensor, " n"] | None, samples: Tensor
    ) -> Int[Tensor, " n"]:
        """Return the place of every sample's step, and count its epoch; as :func:`place_steps`."""
        place = place_steps(self.steps, step, samples)
        self.accumulate(epochs=epoch_sums(len(self.steps), place, epoch))
        return place

    def add_rows(self, row: Int[Tensor, " k"], **values: Tensor) -> None:
        """Add values (k, ...) to their rows of the states of the same names.

        The dimensions of a state before those of its values are its rows. Only rows of this batch
        are touched: a batch costs the same in a run of any length.
        """
        touched, place = row.to(self.epochs.device).unique(return_inverse=True)
        for name, value in values.items():
            state = getattr(self, name)
            value = value.to(state)
            added = value.new_zeros(len(touched), *value.shape[1:]).index_add_(0, place, value)
            state.view(-1, *value.shape[1:]).index_add_(0, touched, added)

    def count_rows(
        self,
        state: str,
        bins: Bins,
        row: Int[Tensor, " k"],
        values: Float[Tensor, "k v"],
        moments: str | None = None,
    ) -> None:
        """Count values in the bins of their row and column of a state, as :meth:`add_rows` adds.

        A value that is NaN is not counted. A state of ``moments`` gets their sums and those of
        their squares, each as ``state`` has its counts.
        """
        group = row.unsqueeze(-1) * values.shape[1] + torch.arange(values.shape[1]).to(row)
        more = tuple(getattr(self, moments)) if moments else ()
        bins.add(getattr(self, state), values, group, more)

    @property
    def epoch(self) -> Float[Tensor, " s"]:
        """Epoch of every step; NaN where none was given."""
        return self.epochs[0] / self.epochs[1]

    def facts(self) -> dict[str, Tensor]:
        """Epoch by step, and non_finite."""
        return {"epoch": self.epoch} | super().facts()

    def step_frame(
        self, names: Sequence[tuple], columns: Sequence[str], steps: Sequence | None = None
    ) -> pd.DataFrame:
        """Table of what ``compute`` returns: a row for every step and name.

        Args:
            names: of the values' dimensions after the step.
            columns: what the parts of a name are called.
            steps: of the first dimension; the captured ones when None.
        """
        places = [(step, *name) for step in steps or self.steps for name in names]
        frame = self.frame(places, ["step", *columns])
        epoch = pd.Series(frame.pop("epoch")).round()
        frame.insert(1, "epoch", epoch.astype("Int64" if epoch.isna().any() else "int64"))
        return frame


def check_steps(steps: Sequence[int]) -> tuple[int, ...]:
    """Return the steps in ascending order; a ValueError where there is none or one is twice."""
    ordered = tuple(sorted(int(step) for step in steps))
    if not ordered:
        raise ValueError("need at least one captured step, got none")
    if len(set(ordered)) != len(ordered):
        raise ValueError("captured steps must differ from each other, one is given twice")
    return ordered


def place_steps(
    steps: tuple[int, ...], step: Int[Tensor, " n"] | None, samples: Tensor
) -> Int[Tensor, " n"]:
    """Row of every sample among ``steps``; logits without steps all belong to a single one.

    Args:
        steps: the captured steps, ascending.
        step: step of every sample, or None where the logits come from no training.
        samples: any tensor with one entry a sample, for the size and the device.

    Raises:
        ValueError: a step that was not announced, or none where several were.
    """
    if step is None:
        if len(steps) > 1:
            raise ValueError(f"the analyzer expects {len(steps)} steps, need the step of a sample")
        return torch.zeros(len(samples), dtype=torch.long, device=samples.device)
    known = torch.tensor(steps, device=step.device)
    place = torch.searchsorted(known, step.long()).clamp(max=len(steps) - 1)
    unknown = known[place] != step
    if unknown.any():
        raise ValueError(
            f"step {int(step[unknown][0])} is not among the {len(steps)} steps of the analyzer"
        )
    return place


def epoch_sums(
    size: int, place: Int[Tensor, " n"], epoch: Int[Tensor, " n"] | None
) -> Float[Tensor, "2 s"]:
    """Sum of the epochs and number of samples that have one, by row."""
    if epoch is None:
        return torch.zeros(2, size, dtype=torch.float64)
    empty = torch.zeros(size, dtype=torch.float64, device=place.device)
    pair = (epoch.double(), torch.ones_like(epoch, dtype=torch.float64))
    return torch.stack([empty.index_add(0, place, value) for value in pair])


def deviation(total: Tensor, squares: Tensor, n: Tensor) -> Tensor:
    """Standard deviation over n samples (divided by n - 1) from their sum and that of squares.

    NaN for a single one, whatever rounding leaves of its square.
    """
    spread = (squares - total.square() / n).clamp(min=0)
    return (spread / (n - 1)).sqrt().where(n > 1, torch.nan)


def spread_over_samples(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean, std and n over the samples of all rows that share the keys, from these columns."""
    within = (table["std"].fillna(0) ** 2 * (table.n - 1)).clip(lower=0)
    sums = table.assign(
        total=table["mean"] * table.n, squares=within + table["mean"] ** 2 * table.n
    )
    sums = sums.groupby(keys, sort=False)[["total", "squares", "n"]].sum()
    mean = sums.total / sums.n
    rest = (sums.squares - mean * sums.total).clip(lower=0) / (sums.n - 1)
    return pd.DataFrame({"mean": mean, "std": rest**0.5, "n": sums.n})


def over_samples(table: pd.DataFrame, keys: list[str], columns: Sequence[str]) -> pd.DataFrame:
    """Means of the columns over the samples n of all rows that share the keys, and n.

    A value that is NaN counts for nothing; NaN where there are no samples.
    """
    sums = table.assign(**{name: table[name] * table.n for name in columns})
    sums = sums.groupby(keys, sort=False)[[*columns, "n"]].sum()
    return sums.assign(**{name: sums[name] / sums.n for name in columns})
