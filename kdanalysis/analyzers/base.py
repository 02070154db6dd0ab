"""Analyzer: float64 sums over samples that end in one tidy table."""

from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.analyzers.noun import Noun
from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.streams import check_batch, finite_rows

COUNTS = ("n", "no_gradient", "no_relation", "non_finite")


class Analyzer(Noun):
    """Streams over batches, merges across batches, ranks and runs, ends in one pandas table.

    Its only states are float64 sums, so that merging is adding: halves give the table of the
    whole, in any order. ``needs`` names the columns that ``update`` takes in this order, ``takes``
    those it is given by name where they are there; ``kind`` says of what: "samples", "layers" or
    "regions". ``for_setting`` makes the analyzer that a run or file asks for; one that is made
    otherwise has ``of_runs`` False.

    Rows whose logits hold NaN or inf enter no number: they are counted in ``non_finite``, which
    every table repeats, and left out. They are never set to zero.

    Args:
        configuration: whatever tells this analyzer from another of its class, which it is then
            not merged with.
    """

    kind: ClassVar[str] = "samples"
    of_runs: ClassVar[bool] = True
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()

    def __init__(self, *configuration: object) -> None:
        self.configuration = repr(configuration)
        self.state_names: tuple[str, ...] = ()
        self.add_sum("non_finite")

    @classmethod
    def for_setting(cls, setting: Setting) -> "Analyzer | None":
        """Return the analyzer for these data; None where they have no such table."""
        return cls()

    def update(self, *columns: Any, **more: Any) -> None:
        """Add one batch of columns."""
        raise NotImplementedError(f"{type(self).__name__} lacks update")

    def compute(self) -> dict[str, Tensor]:
        """Return what the table is made from, by name; the sums if not said otherwise."""
        return {name: state.clone() for name, state in self.states.items()}

    def table(self) -> pd.DataFrame:
        """One observation a row, one variable a column; units in the column's docstring."""
        raise NotImplementedError(f"{type(self).__name__} lacks table")

    def add_sum(self, name: str, *shape: int) -> None:
        """Add a float64 state of this name, starting at zero."""
        setattr(self, name, torch.zeros(shape, dtype=torch.float64))
        self.state_names = (*self.state_names, name)

    @property
    def states(self) -> dict[str, Tensor]:
        """The sums by name: all that the table is made from."""
        return {name: getattr(self, name) for name in self.state_names}

    def accumulate(self, **sums: Tensor) -> None:
        """Add one batch's sums to the states of the same names."""
        for name, value in sums.items():
            state = getattr(self, name)
            state += value.to(state)

    def to(self, device: Any) -> "Analyzer":
        """Move the sums to a device, and return the analyzer."""
        for name, state in self.states.items():
            setattr(self, name, state.to(device))
        return self

    def merge_state(self, other: "Analyzer") -> None:
        """Add another analyzer's sums to this one's.

        Raises:
            ValueError: the other is of another class, or was configured otherwise.
        """
        if type(other) is not type(self) or other.configuration != self.configuration:
            raise ValueError(
                f"cannot merge {type(other).__name__} into {type(self).__name__}: "
                f"class and arguments must be the same on both sides"
            )
        self.accumulate(**other.states)

    def keep(
        self,
        teacher: Float[Tensor, "n c"],
        student: Float[Tensor, "n c"] | None = None,
        target: Int[Tensor, " n"] | None = None,
        num_classes: int | None = None,
    ) -> Bool[Tensor, " n"]:
        """Check a batch, count its rows with NaN or inf, and return which rows to analyse.

        Raises:
            ValueError: no samples, fewer than two classes, or shapes that do not agree.
        """
        check_batch(teacher, student, target, num_classes)
        kept = finite_rows(teacher, student)
        self.accumulate(non_finite=(~kept).sum())
        return kept


def flat_columns(values: dict[str, Tensor]) -> dict[str, list]:
    """Tensors as columns of a table, flattened; counts as integers."""
    return {
        name: (value.long() if name in COUNTS else value).reshape(-1).tolist()
        for name, value in values.items()
    }
